"""Ledger of tool calls: every change is a compare-and-set with an audit event."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone

from chat.conf import conf
from chat.errors import InvalidJson
from chat.json_input import parse_json_object
from chat.models import Run, RunStatus, RunStep, StepStatus, ToolCall
from chat.models.runs import CallStatus
from chat.tools.arguments import redact
from chat.tools.base import ToolContext, ToolError
from chat.tools.outputs import build_error_output, build_output_text
from chat.tools.tool_call_sql import end_call
from tenants import audit
from tenants.authentication import Principal, get_run_principal
from tenants.keyed_hash import hash_private, is_hash_of
from tenants.models import AuditEvent

_ARGUMENTS = "tool arguments"


class CallLapsed(Exception):
    """The call was ended or its run taken over by another process; its result is discarded."""


@dataclass(frozen=True, kw_only=True)
class CallContext:
    """The principal, the claimed run (with the claim's token), and its open tool call step."""

    principal: Principal
    run: Run
    step: RunStep


@dataclass(frozen=True, kw_only=True)
class CallOutcome:
    """The final state of a call.

    `bound` are the values passed to the tool, None if it was not called. `details` are those of
    its ToolResult.
    """

    status: CallStatus
    output: str
    error_code: str = ""
    bound: dict[str, Any] | None = None
    details: dict[str, Any] | None = None

    @classmethod
    def of_code(cls, code: str, status: CallStatus = CallStatus.FAILED) -> CallOutcome:
        """Create an outcome with the predefined message of `code`."""
        return cls(status=status, output=build_error_output(code), error_code=code)

    @classmethod
    def of_error(cls, error: ToolError, status: CallStatus = CallStatus.FAILED) -> CallOutcome:
        """Create an outcome with the code and message of a tool's error."""
        output = build_error_output(error.code, error.message)
        return cls(status=status, output=output, error_code=error.code[:32])


def hash_arguments(run: Run, raw: str) -> str:
    """Return a keyed hash of the exact text sent by the model, specific to the run.

    The hash is in the audit log, whose readers may not be allowed to see the text. They can
    reproduce it neither by guessing nor by sending the same text in a run of their own.
    """
    return hash_private(run.tenant_id, _ARGUMENTS, f"{run.pk}:{raw}")


def has_valid_arguments_hash(call: ToolCall) -> bool:
    """Return True if the stored arguments match their hash."""
    text = f"{call.run_id}:{call.arguments}"
    return is_hash_of(call.arguments_hash, call.tenant_id, _ARGUMENTS, text)


def build_attempt_event(principal: Principal, call: ToolCall, decision: str) -> AuditEvent:
    """Build the audit event of a call and its decision, to be inserted with the ledger row."""
    try:
        most = conf.tool_argument_bytes
        copy = redact(parse_json_object(call.arguments or "{}", max_bytes=most))
    except InvalidJson:
        copy = {"unreadable_characters": len(call.arguments)}
    return audit.build_event(
        principal,
        "tool.attempted",
        call.pk,
        run=call.run_id,
        tool=call.name,
        version=call.version,
        effect=call.effect,
        decision=decision,
        arguments_hash=call.arguments_hash,
        arguments=copy,
    )


def build_identity_event(principal: Principal, call: ToolCall, names: Sequence[str]) -> AuditEvent:
    """Build the security event of a call whose arguments claim an identity."""
    return audit.build_event(
        principal,
        "security.reserved_argument",
        call.pk,
        run=call.run_id,
        tool=call.name,
        names=[name[:64] for name in names[:20]],
    )


def build_context(ctx: CallContext, call: ToolCall) -> ToolContext | None:
    """Return the context for the tool, or None if the run's principal has lost access."""
    principal = get_run_principal(ctx.run.tenant_id, ctx.run.member_id, ctx.run.key_id)
    if principal is None:
        return None
    key = hashlib.sha256(f"{call.run_id}:{call.pk}".encode()).hexdigest()
    return ToolContext(
        principal=principal,
        thread=ctx.run.thread,
        run=ctx.run,
        call_id=call.pk,
        idempotency_key=key,
    )


def start_approved(ctx: CallContext, call: ToolCall) -> ToolCall:
    """Mark an approved call as started; if its status has changed, return the stored row.

    Raises:
        CallLapsed: another process has taken over the run and started the call.
    """
    now = timezone.now()
    rows = _get_claimed_call(ctx, call, CallStatus.APPROVED)
    if rows.update(status=CallStatus.STARTED, started_at=now) != 1:
        found = reread(call)
        if found.status == CallStatus.STARTED:
            require_claim(ctx, found)
        return found
    call.status, call.started_at = CallStatus.STARTED, now
    return call


def require_claim(ctx: CallContext, call: ToolCall) -> None:
    """Raise CallLapsed unless this process still holds the started call."""
    if not _get_claimed_call(ctx, call, CallStatus.STARTED).exists():
        raise CallLapsed(call.pk)


def end(
    ctx: CallContext, call: ToolCall, outcome: CallOutcome, *, stopping: bool = False
) -> ToolCall:
    """End a started call with an audit event, and close its step after its last open call.

    With `stopping`, the call is also ended if its run is no longer in progress.

    Raises:
        CallLapsed: the call has already ended, or this process lost the run.
    """
    now = timezone.now()
    changes: dict[str, Any] = {
        "status": outcome.status,
        "output": outcome.output,
        "error_code": outcome.error_code,
        "bound": outcome.bound,
        "details": outcome.details,
        "ended_at": now,
    }
    if stopping:
        rows = ToolCall.objects.filter(
            pk=call.pk, status=CallStatus.STARTED, run__token=ctx.run.token
        )
    else:
        rows = _get_claimed_call(ctx, call, CallStatus.STARTED)
    call.ended_at = now
    note = audit.build_event(
        ctx.principal,
        "tool.ended",
        call.pk,
        run=call.run_id,
        tool=call.name,
        outcome=str(outcome.status),
        code=outcome.error_code,
        duration_ms=call.duration_ms,
    )
    closes = outcome.status == CallStatus.COMPLETED and not stopping
    ended, closed = end_call(rows, call, changes, note, step=ctx.step if closes else None)
    if not ended:
        raise CallLapsed(call.pk)
    for name, value in changes.items():
        setattr(call, name, value)
    if closed:
        transaction.on_commit(partial(_mark_closed, ctx.step, now))
    return call


def _mark_closed(step: RunStep, at: datetime) -> None:
    step.status, step.ended_at = StepStatus.COMPLETED, at


def reread(call: ToolCall) -> ToolCall:
    """Reload the row from the database."""
    found: ToolCall = ToolCall.objects.get(pk=call.pk)
    return found


def decline(call: ToolCall) -> None:
    """Mark a call as declined. The caller saves it."""
    call.status = CallStatus.DECLINED
    call.output = build_error_output("declined")
    call.error_code = "declined"
    call.ended_at = timezone.now()


def answer(principal: Principal, call: ToolCall, output: str) -> None:
    """End a call of a client-side function with its output, and record an audit event."""
    call.status, call.output = CallStatus.COMPLETED, build_output_text(output)
    call.ended_at = timezone.now()
    call.save(update_fields=["status", "output", "ended_at"])
    audit.record(
        principal,
        "tool.ended",
        call.pk,
        run=call.run_id,
        tool=call.name,
        outcome=str(call.status),
        code="",
    )


def _get_claimed_call(ctx: CallContext, call: ToolCall, status: CallStatus) -> Any:
    """Return a queryset of the row, empty unless it has `status` and this process runs its run."""
    running = {"run__status": RunStatus.IN_PROGRESS, "run__token": ctx.run.token}
    return ToolCall.objects.filter(pk=call.pk, status=status, **running)
