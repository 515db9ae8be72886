"""A claimed run with an open tool step, and the two phases of its calls."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from asgiref.sync import async_to_sync
from django.utils import timezone

from chat.models import Run, RunStep, ToolCall
from chat.tools import dispatch, registry
from chat.tools.code_sessions import get_code_sessions
from chat.tools.dispatch import CallContext, ProposedCall
from tenants.models import AuditEvent
from tests.world import Company


def open_run(company: Company, name: str, *tools: str, client: tuple[str, ...] = ()) -> CallContext:
    """Return the context of a run of this person whose assistant has these tools."""
    described: list[dict[str, Any]] = [
        {"type": each} if registry.is_builtin(each) else function(name=each) for each in tools
    ]
    described += [function(name=each, parameters={"type": "object"}) for each in client]
    with company.scope():
        run = Run.objects.create(
            thread=company.threads.get(name) or company.threads[company.member_names[0]],
            member=company.people[name],
            assistant_ref=company.assistant.pk,
            assistant=company.assistant,
            status="in_progress",
            token=1,
            model="demo-scripted",
            upstream="demo",
            through_position=3,
            tools=described,
            expires_at=timezone.now() + timedelta(minutes=10),
        )
        step = RunStep.objects.create(run=run, index=1, type="tool_calls")
    return CallContext(principal=company.principal(name), run=run, step=step)


def function(**fields: Any) -> dict[str, Any]:
    """Return a function as a tool of the API."""
    return {"type": "function", "function": fields}


def call(name: str, arguments: str = "{}", *, server_id: str = "", **place: int) -> ProposedCall:
    """Return what a model proposes."""
    return ProposedCall(
        round=place.get("round", 1),
        index=place.get("index", 0),
        server_call_id=server_id,
        name=name,
        arguments=arguments,
    )


def prepare(company: Company, ctx: CallContext, *calls: ProposedCall) -> list[ToolCall]:
    """Decide and record, committed."""
    with company.scope():
        return dispatch.prepare(ctx, calls)


def perform(company: Company, ctx: CallContext, *calls: ProposedCall) -> list[ToolCall]:
    """Decide, record and execute."""
    rows: list[ToolCall] = phase(_executed)(ctx, prepare(company, ctx, *calls))
    return rows


async def _executed(ctx: CallContext, rows: list[ToolCall]) -> list[ToolCall]:
    try:
        return await dispatch.execute_all(ctx, rows)
    finally:
        # Processes that run code belong to the loop, which ends here.
        await get_code_sessions().close_all()


def perform_one(company: Company, ctx: CallContext, name: str, arguments: str = "{}") -> ToolCall:
    """Decide, record and execute a single call."""
    return perform(company, ctx, call(name, arguments))[0]


def phase(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return an asynchronous phase of dispatch as a plain function."""
    done: Callable[..., Any] = async_to_sync(function)
    return done


def stored(company: Company, row: ToolCall) -> ToolCall:
    """Return the row as committed."""
    with company.scope():
        found: ToolCall = ToolCall.objects.get(pk=row.pk)
        return found


def audited(company: Company, row: ToolCall) -> dict[str, dict[str, Any]]:
    """Return the audit events of a call: their data by action."""
    with company.scope():
        return {event.action: event.data for event in AuditEvent.objects.filter(subject=row.pk)}
