"""Accept tool outputs from a program and resume the run."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction

from chat.actions.runs.approvals import DECISIONS, resume_if_answered, store_decision
from chat.actions.runs.manage import lock_run
from chat.errors import InvalidInput, RunNotWaiting
from chat.models import Run, RunStatus, ToolCall
from chat.models.runs import PENDING_STATUSES, CallStatus
from chat.tools import dispatch
from tenants.authentication import Principal
from tenants.scope import tenant_scope


def submit_tool_outputs(
    principal: Principal,
    run_id: str,
    outputs: Mapping[str, str],
    *,
    thread_id: str | None = None,
) -> Run:
    """Answer all pending calls of a run, by call ID, and resume it.

    The output of the program's own function is any text. A call of a server tool
    waits for approval; its output must be "approve" or "decline".

    Raises:
        NotFound: the thread or run does not exist.
        RunNotWaiting: the run is not waiting for tool outputs.
        InvalidInput: the outputs do not match the pending calls, or an approval is
            neither "approve" nor "decline".
        ApprovalChanged: a tool changed after its approval was requested.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        run = lock_run(principal, run_id, thread_id=thread_id)
        if run.status != RunStatus.REQUIRES_ACTION:
            raise RunNotWaiting(f'Runs in status "{run.status}" do not accept tool outputs.')
        calls = ToolCall.objects.filter(run=run, status__in=PENDING_STATUSES).order_by(
            "round", "index"
        )
        waiting = list(calls.select_for_update())
        _check_outputs(waiting, outputs)
        for call in waiting:
            if call.status == CallStatus.AWAITING_OUTPUT:
                dispatch.answer(principal, call, outputs[call.pk])
            else:
                store_decision(
                    principal, call, outputs[call.pk], arguments_hash=call.arguments_hash
                )
        resume_if_answered(run)
        return run


def _check_outputs(waiting: list[ToolCall], outputs: Mapping[str, str]) -> None:
    wanted = [call.pk for call in waiting]
    if set(wanted) != set(outputs):
        raise InvalidInput(
            f"Expected tool outputs for call_ids {wanted}, got {sorted(outputs)}.",
            param="tool_outputs",
        )
    for call in waiting:
        if call.status == CallStatus.WAITING and outputs[call.pk] not in DECISIONS:
            raise InvalidInput(
                f"Call '{call.pk}' requires approval: its output must be 'approve' or 'decline'.",
                param="tool_outputs",
            )
