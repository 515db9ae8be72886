"""Code that models write, run by real sandboxes within runs that are under way."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import pytest

from chat.models import CodeSession, File, Run, StorageUse, Thread, ToolCall
from chat.models.files import Purpose
from chat.storage import store_file
from chat.tools import code_interpreter, dispatch
from chat.tools.code_sessions import CodeSessions, code_sessions
from chat.tools.dispatch import CallContext
from tenants.db import in_db
from tests.chat.tool_runs import call, open_run, prepare
from tests.world import Company

CODE: dict[str, Any] = {"type": "code_interpreter"}


def coding_run(company: Company, name: str = "alice") -> CallContext:
    """Return the context of a run that may run code."""
    context = open_run(company, name)
    context.run.tools = [CODE]
    with company.scope():
        Run.objects.filter(pk=context.run.pk).update(tools=[CODE])
    return context


@asynccontextmanager
async def coding(company: Company, name: str = "alice") -> AsyncIterator[CallContext]:
    """A run of this person's that may run code; no session is left afterwards."""
    context = await in_db(coding_run, company, name)
    try:
        yield context
    finally:
        await code_sessions().close_all()


@asynccontextmanager
async def other_process(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CodeSessions]:
    """Sessions as another process would hold them: none of ours."""
    sessions = CodeSessions()
    with monkeypatch.context() as patch:
        patch.setattr(code_interpreter, "code_sessions", lambda: sessions)
        try:
            yield sessions
        finally:
            await sessions.close_all()


async def compute(company: Company, context: CallContext, *sources: str) -> list[ToolCall]:
    """Run pieces of code as the calls of one round, and return them as they ended."""

    def record() -> list[ToolCall]:
        with company.scope():
            place = ToolCall.objects.filter(run=context.run).count()
        calls = [
            call("code_interpreter", json.dumps({"code": source}), round=place + 1, index=index)
            for index, source in enumerate(sources)
        ]
        return prepare(company, context, *calls)

    return await dispatch.execute_all(context, await in_db(record))


async def result(company: Company, context: CallContext, source: str) -> dict[str, Any]:
    """Run one piece of code and return what the model is told."""
    [row] = await compute(company, context, source)
    assert row.status == "completed", row.output
    return told(row)


def told(row: ToolCall) -> dict[str, Any]:
    """Return what the model is told of a call."""
    found: dict[str, Any] = json.loads(row.output or "")["untrusted_content"]
    return found


def add_input(company: Company, data: bytes, *, owner: str | None, name: str = "sales.csv") -> str:
    """Store a file of this person's, or of the company's; return its id."""
    row = File(
        tenant_id=company.tenant.pk,
        member=company.people[owner] if owner else None,
        purpose=Purpose.ASSISTANTS,
        filename=name,
        media_type="text/csv",
    )
    return str(store_file(row, BytesIO(data)).pk)


def attach(company: Company, context: CallContext, *file_ids: str) -> None:
    """Let the run's thread have these files."""
    resources = {"code_interpreter": {"file_ids": list(file_ids)}}
    with company.scope():
        Thread.objects.filter(pk=context.run.thread_id).update(tool_resources=resources)


def session_row(company: Company, context: CallContext) -> CodeSession | None:
    """Return where the thread's code is."""
    with company.scope():
        row: CodeSession | None = CodeSession.objects.filter(
            thread_id=context.run.thread_id
        ).first()
    return row


def used_bytes(company: Company) -> int:
    """Return how much the company keeps."""
    with company.scope():
        return StorageUse.objects.values_list("bytes", flat=True).first() or 0
