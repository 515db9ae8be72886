"""Store the message that is being written, and its step.

Every write names the claim; one that has lapsed raises ClaimLapsed and writes nothing.
"""

from __future__ import annotations

from django.db import connection, transaction
from django.utils import timezone

from chat.models import Message, RunStep, StepStatus, Thread
from chat.runs.claims import Claim, fenced_update
from chat.runs.turn import Draft, Turn
from tenants.scope import tenant_scope


def save_partial(claim: Claim, draft: Draft, state: int) -> None:
    """Store what was written so far, without waiting for the disk."""
    with tenant_scope(claim.tenant_id), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL synchronous_commit = off")
        take_place(draft)
        fenced_update(claim, state=state)
        store_draft(draft)


def store_draft(draft: Draft) -> None:
    """Insert or update the draft's message and step; its thread has given it the place."""
    Message.objects.bulk_create(
        [draft.message],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["content", "status", "incomplete_reason", "completed_at", "incomplete_at"],
    )
    RunStep.objects.bulk_create(
        [draft.step],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["status", "ended_at", "prompt_tokens", "completion_tokens", "sent"],
    )


def take_place(draft: Draft) -> None:
    """Move the thread's last position to the draft's."""
    Thread.objects.filter(pk=draft.message.thread_id).update(last_position=draft.message.position)


def supersede_draft(turn: Turn, draft: Draft) -> None:
    """Close a draft that broke off and whose step is to be repeated as a new one."""
    draft.settle(timezone.now(), message_reason="run_failed", step_status=StepStatus.FAILED)
    with tenant_scope(turn.claim.tenant_id), transaction.atomic():
        take_place(draft)
        fenced_update(turn.claim, state=turn.state_to_store)
        store_draft(draft)
