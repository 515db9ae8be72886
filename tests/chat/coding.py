"""Code that models write, run by real sandboxes within runs that are under way."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from chat.models import (
    Assistant,
    CodeSession,
    File,
    Price,
    Run,
    StorageUse,
    Thread,
    ThreadMapping,
    ToolCall,
    Usage,
)
from chat.models.files import Purpose
from chat.tools import code_interpreter, dispatch
from chat.tools.code_sessions import CodeSessions, get_code_sessions
from chat.tools.dispatch import CallContext
from tenants.db import in_db
from tenants.models import Membership
from tests.chat.knowing import keep_file
from tests.chat.tool_runs import call, open_run, prepare
from tests.clock import until
from tests.world import Company

CODE: dict[str, Any] = {"type": "code_interpreter"}


@asynccontextmanager
async def coding(company: Company, name: str = "alice") -> AsyncIterator[CallContext]:
    """A run of this person's that may run code; no session is left afterwards."""
    context = await in_db(open_run, company, name, "code_interpreter")
    try:
        yield context
    finally:
        await get_code_sessions().close_all()


@asynccontextmanager
async def other_process(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CodeSessions]:
    """Sessions as another process would hold them: none of ours."""
    sessions = CodeSessions()
    with monkeypatch.context() as patch:
        patch.setattr(code_interpreter, "get_code_sessions", lambda: sessions)
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
    return str(keep_file(row, data).pk)


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


def contents_of(company: Company, file_id: str) -> tuple[File, bytes]:
    """Return a file that is there, and its bytes."""
    with company.scope():
        row: File = File.objects.alive().get(pk=file_id)
    with default_storage.open(row.storage_key) as content:
        return row, content.read()


def code_usage(company: Company) -> list[Usage]:
    """Return what was metered of code."""
    with company.scope():
        return list(Usage.objects.filter(kind="code_session").order_by("pk"))


def lapse(company: Company) -> None:
    """Let an hour pass in which nobody went on with any code."""
    with company.scope():
        CodeSession.objects.update(expires_at=timezone.now() - timedelta(seconds=1))


def give_assistant(company: Company, assistant: str, *file_ids: str) -> None:
    """Let an assistant have these files."""
    resources = {"code_interpreter": {"file_ids": list(file_ids)}}
    with company.scope():
        Assistant.objects.filter(pk=assistant).update(tools=[CODE], tool_resources=resources)


def take_tools(company: Company, assistant: str) -> None:
    """Switch off what an assistant could do; it keeps its files."""
    with company.scope():
        Assistant.objects.filter(pk=assistant).update(tools=[])


def set_price(company: Company) -> None:
    """Let a session cost three cents."""
    with company.scope():
        Price.objects.create(kind="code_session", price=Decimal("0.03"), currency="EUR")


def delete_thread(company: Company, context: CallContext, ago: timedelta) -> None:
    """Delete the run's thread, so long ago; its run has ended."""
    with company.scope():
        ThreadMapping.objects.filter(thread=context.run.thread_id).delete()
        Run.objects.filter(pk=context.run.pk).update(status="completed")
        deleted = timezone.now() - ago
        Thread.objects.filter(pk=context.run.thread_id).update(deleted_at=deleted)


def disable(company: Company, name: str) -> None:
    """Take a person's access away."""
    with company.scope():
        Membership.objects.filter(pk=company.people[name].pk).update(disabled_at=timezone.now())


def started_call(company: Company, context: CallContext) -> ToolCall:
    """Return the call that is under way by its row."""
    with company.scope():
        row: ToolCall = ToolCall.objects.get(run=context.run, status="started")
    return row


async def in_use(sessions: CodeSessions) -> None:
    """Wait until a session that waited runs code."""
    await until(lambda: not sessions._idle)


def processes(sessions: CodeSessions) -> list[psutil.Process]:
    """Return the processes of the sessions that wait."""
    waiting: list[Any] = [idle.session for idle in sessions._idle.values()]
    return [psutil.Process(session.pid) for session in waiting]


def two_hours_pass(company: Company) -> None:
    """Let all files be older: what has not arrived by then never does."""
    with company.scope():
        File.objects.update(created_at=timezone.now() - timedelta(hours=2))
