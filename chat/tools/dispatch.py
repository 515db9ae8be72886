"""The only entry point to tools: calls are authorised and recorded, then executed and ended.

`prepare` runs in the transaction that stores the model's response. Calls that it marks as
started are committed before `execute_all` executes any of them.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import connection, transaction
from django.utils import timezone

from chat.conf import conf
from chat.models import TenantPolicy, ToolCall
from chat.models.runs import CallStatus
from chat.storable_text import make_storable
from chat.tools import ledger, registry
from chat.tools.arguments import ReservedArgument, parse_arguments
from chat.tools.base import (
    REPEATABLE,
    DeferredResult,
    Effect,
    Tool,
    ToolContext,
    ToolError,
    ToolResult,
)
from chat.tools.binding import bind, serialize_value
from chat.tools.ledger import CallContext, CallLapsed, CallOutcome, answer, decline
from chat.tools.outputs import SENTENCES, build_output_text
from tenants import clock
from tenants.bulk_insert import Insert, insert_many_tables
from tenants.db import DatabasePool, run_in_pool, run_with_retry
from tenants.models import AuditEvent
from tenants.scope import tenant_scope

__all__ = [
    "CallContext",
    "ProposedCall",
    "answer",
    "decline",
    "execute",
    "execute_all",
    "is_approval_valid",
    "prepare",
    "recover",
    "resume_all",
]

log = structlog.get_logger(__name__)

_ENDED = frozenset(
    {
        CallStatus.COMPLETED,
        CallStatus.FAILED,
        CallStatus.REFUSED,
        CallStatus.DECLINED,
        CallStatus.OUTCOME_UNKNOWN,
    }
)


@dataclass(frozen=True, kw_only=True)
class ProposedCall:
    """A tool call sent by the model. `server_call_id` is untrusted: it may be empty or repeated."""

    round: int
    index: int
    server_call_id: str
    name: str
    arguments: str

    def with_arguments(self, arguments: str) -> ProposedCall:
        """Return a copy with the complete text of its arguments."""
        return replace(self, arguments=arguments)


@dataclass(frozen=True, kw_only=True)
class _Rules:
    """The functions that a run may call, and those that need approval in its tenant."""

    enabled: frozenset[str]
    programs: frozenset[str]
    approval: frozenset[str]


def prepare(
    ctx: CallContext, calls: Sequence[ProposedCall], *, beside: Sequence[Insert] = ()
) -> list[ToolCall]:
    """Decide on each call and insert the ledger rows, in the given order.

    The rows, their audit events and `beside` are inserted in one statement. Call within the
    tenant's scope and a transaction.

    The status of a row is `started` (execute it after the commit), `waiting` (for approval),
    `awaiting_output` (of a function that the API client runs), `refused`, or the final status of
    a replay, which has the stored result.
    """
    listed = TenantPolicy.objects.values_list("approval_tools", flat=True).first()
    rules = _Rules(
        enabled=registry.get_enabled_names(ctx.run.tools),
        programs=registry.get_client_function_names(ctx.run.tools),
        approval=frozenset(listed or ()),
    )
    known = _find_earlier_calls(ctx, calls)
    rows: list[ToolCall] = []
    notes: list[AuditEvent] = []
    for proposed in calls:
        row = _build_row(ctx, proposed)
        identity = (row.server_call_id, row.name, row.arguments_hash)
        earlier = known.get(identity) if row.server_call_id else None
        if earlier is None:
            decision, names = _decide(row, proposed, rules)
            known[identity] = row
        else:
            decision, names = _repeat(row, earlier), []
        rows.append(row)
        notes.append(ledger.build_attempt_event(ctx.principal, row, decision))
        if names:
            notes.append(ledger.build_identity_event(ctx.principal, row, names))
    insert_many_tables([*beside, Insert(rows=rows), Insert(rows=notes)])
    return rows


def _find_earlier_calls(
    ctx: CallContext, calls: Sequence[ProposedCall]
) -> dict[tuple[str, str, str], ToolCall]:
    if ctx.step.index == 0:
        return {}  # the first step of a run has no earlier calls
    server_ids = {make_storable(call.server_call_id, most=200) for call in calls} - {""}
    rows = ToolCall.objects.filter(run=ctx.run, server_call_id__in=server_ids)
    return {(row.server_call_id, row.name, row.arguments_hash): row for row in rows}


def _build_row(ctx: CallContext, proposed: ProposedCall) -> ToolCall:
    return ToolCall(
        run=ctx.run,
        step=ctx.step,
        round=proposed.round,
        index=proposed.index,
        server_call_id=make_storable(proposed.server_call_id, most=200),
        name=make_storable(proposed.name, most=128),
        arguments=make_storable(proposed.arguments, most=conf.tool_argument_bytes),
        arguments_hash=ledger.hash_arguments(ctx.run, proposed.arguments),
    )


def _decide(row: ToolCall, proposed: ProposedCall, rules: _Rules) -> tuple[str, list[str]]:
    """Set the row's status; return the decision and any reserved argument names."""
    if proposed.name in rules.programs:
        return _assign_to_client(row, proposed), []
    tool = registry.find(proposed.name)
    if tool is None or proposed.name not in rules.enabled:
        return _refuse(row, CallOutcome.of_code("unknown_tool", CallStatus.REFUSED)), []
    row.version, row.effect = tool.version, tool.effect
    try:
        parse_arguments(tool, proposed.arguments)
    except ToolError as error:
        names = error.names if isinstance(error, ReservedArgument) else []
        return _refuse(row, CallOutcome.of_error(error, CallStatus.REFUSED)), names
    now = clock.now()
    if tool.effect == Effect.DESTRUCTIVE or tool.needs_approval or tool.name in rules.approval:
        row.status = CallStatus.WAITING
        row.approval_expires_at = now + timedelta(seconds=conf.approval_seconds)
        return "waiting", []
    row.status, row.started_at = CallStatus.STARTED, now
    return "started", []


def _assign_to_client(row: ToolCall, proposed: ProposedCall) -> str:
    if row.arguments != proposed.arguments:  # too long, or with characters invalid in JSON
        return _refuse(row, CallOutcome.of_code("invalid_arguments", CallStatus.REFUSED))
    # Some servers send empty arguments for a function without parameters; clients parse JSON.
    row.arguments = row.arguments if row.arguments.strip() else "{}"
    row.status = CallStatus.AWAITING_OUTPUT
    return "client"


def _refuse(row: ToolCall, outcome: CallOutcome) -> str:
    row.status, row.ended_at = outcome.status, timezone.now()
    row.output, row.error_code = outcome.output, outcome.error_code
    return "refused"


def _repeat(row: ToolCall, earlier: ToolCall) -> str:
    """Copy the stored result of the earlier call, so that a repeated call never runs twice."""
    row.version, row.effect = earlier.version, earlier.effect
    if earlier.status not in _ENDED:
        return _refuse(row, CallOutcome.of_code("duplicate_call", CallStatus.REFUSED))
    row.status, row.ended_at = earlier.status, timezone.now()
    row.output, row.error_code = earlier.output, earlier.error_code
    row.bound, row.details = earlier.bound, earlier.details
    return "replayed"


def is_approval_valid(
    call: ToolCall, tool: Tool | None, *, arguments_hash: str, now: datetime
) -> bool:
    """Return True if an approval is valid: same tool version, same arguments, not expired."""
    return (
        tool is not None
        and call.status == CallStatus.WAITING
        and call.version == tool.version
        and call.arguments_hash == arguments_hash
        and call.approval_expires_at is not None
        and now < call.approval_expires_at
    )


async def execute_all(ctx: CallContext, calls: Sequence[ToolCall]) -> list[ToolCall]:
    """Execute started and approved calls with bounded concurrency; return all rows in order."""
    return await _run_each(calls, lambda call: execute(ctx, call))


async def resume_all(ctx: CallContext, calls: Sequence[ToolCall]) -> list[ToolCall]:
    """Resume an open step after approval or take-over; see `recover`."""
    return await _run_each(calls, lambda call: recover(ctx, call))


async def _run_each(
    calls: Sequence[ToolCall], run: Callable[[ToolCall], Awaitable[ToolCall]]
) -> list[ToolCall]:
    room = asyncio.Semaphore(conf.parallel_tools)

    async def one(call: ToolCall, before: asyncio.Task[ToolCall] | None) -> ToolCall:
        if before is not None:
            await asyncio.wait({before})
        async with room:
            return await run(call)

    tasks: list[asyncio.Task[ToolCall]] = []
    last: dict[str, asyncio.Task[ToolCall]] = {}
    try:
        async with asyncio.TaskGroup() as group:
            for call in calls:
                tasks.append(group.create_task(one(call, last.get(call.name))))
                if registry.is_in_order(call.name):
                    last[call.name] = tasks[-1]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def recover(ctx: CallContext, call: ToolCall) -> ToolCall:
    """Recover a call after a take-over of its run, and execute it if it was approved.

    A started read or idempotent write is repeated with the same idempotency key. Any other
    started call ends with an unknown outcome and is never repeated.
    """
    if call.status == CallStatus.STARTED and call.effect not in REPEATABLE:
        outcome = CallOutcome.of_code("outcome_unknown", CallStatus.OUTCOME_UNKNOWN)
        return await run_with_retry(_end, ctx, call, outcome)
    return await execute(ctx, call)


async def execute(ctx: CallContext, call: ToolCall) -> ToolCall:
    """Execute a started or approved call and return its final row.

    Rows with another status are returned unchanged. Exceptions of the tool become an output for
    the model; their details are only logged.
    """
    tool = registry.find(call.name)
    if call.status == CallStatus.APPROVED:
        try:
            call = await run_with_retry(_start_approved, ctx, call)
        except CallLapsed:
            return await run_with_retry(_reread, ctx, call)
    if call.status != CallStatus.STARTED:
        return call
    if tool is None or not _is_unchanged(tool, call):
        code = "tool_changed" if call.approval_expires_at is None else "approval_void"
        return await run_with_retry(_end, ctx, call, CallOutcome.of_code(code, CallStatus.REFUSED))
    clock = asyncio.timeout(_get_timeout(tool))
    try:
        async with clock:
            return await _run(ctx, tool, call)
    except asyncio.CancelledError:
        await run_with_retry(_end, ctx, call, _build_interrupted(tool, "cancelled"), stopping=True)
        raise
    except CallLapsed:
        return await run_with_retry(_reread, ctx, call)
    except ToolError as error:
        outcome = CallOutcome.of_error(error)
    except Exception as error:  # noqa: BLE001 - a tool's mistake must not end the run
        outcome = _build_failure(tool, call, error, timed_out=clock.expired())
    return await run_with_retry(_end, ctx, call, outcome)


def _get_timeout(tool: Tool) -> float:
    return min(tool.timeout or conf.tool_seconds, registry.MAX_SECONDS)


def _is_unchanged(tool: Tool, call: ToolCall) -> bool:
    return tool.version == call.version and ledger.has_valid_arguments_hash(call)


async def _run(ctx: CallContext, tool: Tool, call: ToolCall) -> ToolCall:
    if not tool.is_async:
        return await run_in_pool(DatabasePool.TOOLS, _run_in_transaction, ctx, tool, call)
    context, values = await run_with_retry(_bind, ctx, tool, call)
    with tenant_scope(ctx.run.tenant_id):
        result = await tool.function(context, **values)
    try:
        return await run_with_retry(_settle, ctx, tool, call, values, result)
    finally:
        if isinstance(result, DeferredResult):
            result.ended()


def _settle(
    ctx: CallContext, tool: Tool, call: ToolCall, values: dict[str, Any], result: Any
) -> ToolCall:
    """End a call and store the data of its deferred result, or neither if the call lapsed."""
    with tenant_scope(ctx.run.tenant_id), transaction.atomic():
        if isinstance(result, DeferredResult):
            # Prevents a second run if the commit succeeded but its confirmation was lost.
            ledger.require_claim(ctx, call)
            result = result.settle()
        return ledger.end(ctx, call, _build_completed(tool, values, result))


def _run_in_transaction(ctx: CallContext, tool: Tool, call: ToolCall) -> ToolCall:
    """Run a synchronous tool and end its call in one transaction.

    If the call ended or lapsed meanwhile, CallLapsed rolls both back.
    """
    with tenant_scope(ctx.run.tenant_id), transaction.atomic():
        _limit_statements(_get_timeout(tool))
        context, values = _bind_in_transaction(ctx, tool, call)
        result = tool.function(context, **values)
        return ledger.end(ctx, call, _build_completed(tool, values, result))


def _limit_statements(seconds: float) -> None:
    # A thread cannot be interrupted from outside. These limits stop its waits for PostgreSQL, and
    # end a transaction that stays idle while the tool computes.
    with connection.cursor() as cursor:
        limit = str(round(seconds * 1000) + 500)
        cursor.execute(
            "SELECT set_config('statement_timeout', %s, true), "
            "set_config('idle_in_transaction_session_timeout', %s, true)",
            [limit, limit],
        )


def _bind(ctx: CallContext, tool: Tool, call: ToolCall) -> tuple[ToolContext, dict[str, Any]]:
    with tenant_scope(ctx.run.tenant_id), transaction.atomic():
        return _bind_in_transaction(ctx, tool, call)


def _bind_in_transaction(
    ctx: CallContext, tool: Tool, call: ToolCall
) -> tuple[ToolContext, dict[str, Any]]:
    context = ledger.build_context(ctx, call)
    if context is None:
        raise ToolError("access_ended", SENTENCES["access_ended"])
    if tool.effect != Effect.READ:
        ledger.require_claim(ctx, call)
    return context, bind(tool, parse_arguments(tool, call.arguments), context)


def _build_completed(tool: Tool, values: dict[str, Any], result: Any) -> CallOutcome:
    tool_result = result if isinstance(result, ToolResult) else ToolResult(output=result)
    return CallOutcome(
        status=CallStatus.COMPLETED,
        output=build_output_text(tool_result.output, untrusted=tool.untrusted_output),
        bound=serialize_value(values),
        details=tool_result.details,
    )


def _build_interrupted(tool: Tool, code: str) -> CallOutcome:
    """Return the outcome of an interrupted call.

    The transaction of a synchronous tool is rolled back, so it had no effect. The external
    effects of an async tool are unknown.
    """
    if tool.is_async and tool.effect not in REPEATABLE:
        return CallOutcome.of_code("outcome_unknown", CallStatus.OUTCOME_UNKNOWN)
    status = CallStatus.CANCELLED if code == "cancelled" else CallStatus.FAILED
    return CallOutcome.of_code(code, status)


def _build_failure(tool: Tool, call: ToolCall, error: Exception, *, timed_out: bool) -> CallOutcome:
    if timed_out:
        log.warning("tool_timed_out", tool=tool.name, call=call.pk)
        return _build_interrupted(tool, "timeout")
    # Log neither the error's message nor its arguments, because both may contain user data.
    frames = [f"{at.filename}:{at.lineno}" for at in traceback.extract_tb(error.__traceback__)]
    log.error(
        "tool_failed", tool=tool.name, call=call.pk, error=type(error).__qualname__, frames=frames
    )
    return CallOutcome.of_code("tool_failed")


def _start_approved(ctx: CallContext, call: ToolCall) -> ToolCall:
    with tenant_scope(ctx.run.tenant_id), transaction.atomic():
        return ledger.start_approved(ctx, call)


def _end(
    ctx: CallContext,
    call: ToolCall,
    outcome: CallOutcome,
    *,
    stopping: bool = False,
) -> ToolCall:
    """End a call in its own transaction; if it has already ended, return the stored row."""
    with tenant_scope(ctx.run.tenant_id), transaction.atomic():
        try:
            return ledger.end(ctx, call, outcome, stopping=stopping)
        except CallLapsed:
            return ledger.reread(call)


def _reread(ctx: CallContext, call: ToolCall) -> ToolCall:
    with tenant_scope(ctx.run.tenant_id), transaction.atomic():
        return ledger.reread(call)
