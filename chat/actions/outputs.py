"""Take what a program returned from its own functions, and go on with the run."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction

from chat.actions.approvals import DECISIONS, continue_if_answered, decide
from chat.actions.runs import lock_run
from chat.errors import InvalidInput, RunNotWaiting
from chat.models import Run, RunStatus, ToolCall
from chat.models.runs import PENDING, CallStatus
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
    """Answer every call a run waits for, by call id, and let it go on.

    A call of the program's own function takes any text; one of our tools waits
    for approval and takes "approve" or "decline" only.

    Raises:
        NotFound: for an unknown thread or run.
        RunNotWaiting: when the run waits for nothing (any more).
        InvalidInput: when these are not exactly the calls it waits for, or an
            approval is neither given nor declined.
        ApprovalChanged: when a tool has changed since its approval was asked.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        run = lock_run(principal, run_id, thread_id=thread_id)
        if run.status != RunStatus.REQUIRES_ACTION:
            raise RunNotWaiting(f'Runs in status "{run.status}" do not accept tool outputs.')
        calls = ToolCall.objects.filter(run=run, status__in=PENDING).order_by("round", "index")
        waiting = list(calls.select_for_update())
        _check(waiting, outputs)
        for call in waiting:
            if call.status == CallStatus.AWAITING_OUTPUT:
                dispatch.answer(principal, call, outputs[call.pk])
            else:
                decide(principal, call, outputs[call.pk], arguments_hash=call.arguments_hash)
        continue_if_answered(run)
        return run


def _check(waiting: list[ToolCall], outputs: Mapping[str, str]) -> None:
    wanted = [call.pk for call in waiting]
    if set(wanted) != set(outputs):
        raise InvalidInput(
            f"Expected tool outputs for call_ids {wanted}, got {sorted(outputs)}.",
            param="tool_outputs",
        )
    for call in waiting:
        if call.status == CallStatus.WAITING and outputs[call.pk] not in DECISIONS:
            raise InvalidInput(
                f"The call '{call.pk}' waits for approval: its output is 'approve' or 'decline'.",
                param="tool_outputs",
            )
