"""Approve or decline tool calls."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.db import transaction

from chat import wire
from chat.actions.runs.manage import lock_run
from chat.conf import conf
from chat.errors import ApprovalChanged, ApprovalNotPending, InvalidInput, NotFound
from chat.models import Run, RunStatus, RunStep, StepStatus, ToolCall
from chat.models.runs import PENDING_STATUSES, CallStatus
from chat.runs.engine.launch import launch
from chat.runs.engine.worker import worker
from chat.runs.state.lifecycle import advance
from chat.runs.state.turn import Event
from chat.tools import dispatch, registry
from tenants import audit, clock
from tenants.authentication import Principal
from tenants.scope import tenant_scope

DECISIONS = ("approve", "decline")


def decide_call(
    principal: Principal, run_id: str, call_id: str, *, decision: str, arguments_hash: str
) -> Run:
    """Approve or decline one waiting call; resume the run once no call is pending.

    `arguments_hash` is the hash of the arguments that the approver saw.

    Raises:
        NotFound: the run or call does not exist.
        InvalidInput: the decision is neither "approve" nor "decline".
        ApprovalNotPending: the call is not waiting for approval, or the approval expired.
        ApprovalChanged: the arguments or the tool changed after they were shown.
    """
    if decision not in DECISIONS:
        raise InvalidInput("The decision must be 'approve' or 'decline'.", param="decision")
    with tenant_scope(principal.tenant_id), transaction.atomic():
        run = lock_run(principal, run_id)
        if run.status != RunStatus.REQUIRES_ACTION:
            raise ApprovalNotPending()
        call = ToolCall.objects.filter(run=run, pk=call_id).select_for_update().first()
        if call is None:
            raise NotFound(f"No call found with id '{call_id}'.", param="call")
        if call.status != CallStatus.WAITING:
            raise ApprovalNotPending()
        store_decision(principal, call, decision, arguments_hash=arguments_hash)
        resume_if_answered(run)
        return run


def is_waiting_for_approval(run: Run) -> bool:
    """Return True if the run has a call that is waiting for approval."""
    if run.status != RunStatus.REQUIRES_ACTION:
        return False
    waiting: bool = ToolCall.objects.filter(run=run, status=CallStatus.WAITING).exists()
    return waiting


def store_decision(
    principal: Principal, call: ToolCall, decision: str, *, arguments_hash: str
) -> None:
    """Store the decision on a locked waiting call, in the caller's transaction.

    Raises:
        ApprovalChanged: the arguments or the tool changed after they were shown.
    """
    call.decided_by = principal.membership_id
    if decision == "approve":
        tool, now = registry.find(call.name), clock.now()
        if not dispatch.is_approval_valid(call, tool, arguments_hash=arguments_hash, now=now):
            raise ApprovalChanged()
        call.status = CallStatus.APPROVED
    else:
        dispatch.decline(call)
    call.save(update_fields=["status", "output", "error_code", "decided_by", "ended_at"])
    audit.record(
        principal,
        f"tool.{call.status}",
        call.pk,
        run=call.run_id,
        tool=call.name,
        arguments_hash=call.arguments_hash,
    )


def resume_if_answered(run: Run) -> None:
    """Resume a locked run once none of its calls is pending, in the caller's transaction.

    Waiting for approval does not count as run time: the run gets a new deadline
    afterwards. Tool outputs from a program must arrive before the original deadline.

    Raises:
        ApprovalNotPending: the run is no longer waiting.
    """
    step = RunStep.objects.filter(run=run, status=StepStatus.IN_PROGRESS).latest("index")
    calls = list(ToolCall.objects.filter(step=step).order_by("index"))
    if any(call.status in PENDING_STATUSES for call in calls):
        return
    owner = worker.claim_owner
    if any(call.approval_expires_at is not None for call in calls):
        run.expires_at = clock.now() + timedelta(seconds=conf.run_seconds)
    moved = advance(
        run.pk, RunStatus.QUEUED, owner=owner, token=run.token + 1, expires_at=run.expires_at
    )
    if not moved:
        raise ApprovalNotPending()
    run.status, run.owner, run.token = RunStatus.QUEUED, owner, run.token + 1
    run.state += 1
    launch(run, resumed=True, told=_complete_step_if_ended(run, step, calls))


def _complete_step_if_ended(run: Run, step: RunStep, calls: Sequence[ToolCall]) -> list[Event]:
    """Complete the step if all of its calls have ended; return the events to publish."""
    if any(call.ended_at is None for call in calls):
        return []
    step.status, step.ended_at = StepStatus.COMPLETED, clock.now()
    step.save(update_fields=["status", "ended_at"])
    rendered = wire.step_object(step, run=run, calls=calls, labels=registry.get_labels())
    return [("thread.run.step.completed", rendered)]
