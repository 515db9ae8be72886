"""Store the message that is being written, and its step.

Every write is fenced by the claim: a lapsed claim writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import orjson
from django.db import connection, transaction

from chat.models import RunStep, Thread
from chat.runs.state.claims import Claim, ClaimLapsed, update_fenced
from chat.runs.state.turn import Draft, Turn
from tenants.bulk_insert import Insert, insert_many_tables
from tenants.scope import tenant_scope


@dataclass(frozen=True, kw_only=True)
class DraftSnapshot:
    """Snapshot of a growing text. `state` is the state number to store with it."""

    claim: Claim
    draft: Draft
    state: int
    content: str

    @classmethod
    def of(cls, turn: Turn) -> DraftSnapshot:
        """Return a snapshot of the turn's draft; later text belongs to the next snapshot."""
        assert turn.draft is not None
        content = orjson.dumps(turn.draft.take_snapshot()).decode()
        return cls(claim=turn.claim, draft=turn.draft, state=turn.state_to_store, content=content)


def insert_snapshot(copies: Sequence[DraftSnapshot]) -> set[str]:
    """Insert the first snapshot of a text and its step; return the runs that are still claimed."""
    [copy] = copies
    with _autosave_transaction(copy.claim.tenant_id):
        update_last_position(copy.draft)
        try:
            update_fenced(copy.claim, state=copy.state)
        except ClaimLapsed:
            transaction.set_rollback(True)
            return set()
        store_draft(copy.draft)
    return {copy.claim.run_id}


# A locked row is left for the next autosave, so that the other rows do not wait for it.
UPDATE_TEXTS = """
WITH copy AS (
    SELECT * FROM unnest(%s::text[], %s::uuid[], %s::int[], %s::text[], %s::text[])
        AS copy (run_id, owner, token, message_id, content)
), claimed AS (
    SELECT copy.run_id, copy.message_id, copy.content FROM copy JOIN chat_run AS run
        ON run.id = copy.run_id AND run.owner = copy.owner AND run.token = copy.token
    WHERE run.status IN ('in_progress', 'cancelling')
), free AS (
    SELECT message.id FROM chat_message AS message
    WHERE message.id IN (SELECT message_id FROM claimed) AND message.status = 'in_progress'
    FOR NO KEY UPDATE SKIP LOCKED
), written AS (
    UPDATE chat_message AS message SET content = claimed.content::jsonb
    FROM claimed, free WHERE message.id = claimed.message_id AND message.id = free.id
)
SELECT run_id FROM claimed
"""
# An autosave is repeated soon, so it does not wait for the disk or long for locks.
AUTOSAVE_SETTINGS = "SET LOCAL synchronous_commit = off; SET LOCAL lock_timeout = '100ms'"


def update_snapshots(copies: Sequence[DraftSnapshot]) -> set[str]:
    """Update the unfinished texts of one tenant; return the runs that are still claimed.

    A take-over closes the message of its run, so it is not overwritten afterwards.
    """
    rows = [
        (c.claim.run_id, c.claim.owner, c.claim.token, c.draft.message.pk, c.content)
        for c in copies
    ]
    with _autosave_transaction(copies[0].claim.tenant_id), connection.cursor() as cursor:
        cursor.execute(UPDATE_TEXTS, [list(column) for column in zip(*rows, strict=True)])
        return {run_id for (run_id,) in cursor.fetchall()}


@contextmanager
def _autosave_transaction(tenant_id: UUID) -> Iterator[None]:
    """Tenant transaction that does not wait for the disk and only 100 ms for a lock."""
    with tenant_scope(tenant_id), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(AUTOSAVE_SETTINGS)
        yield


MESSAGE_CHANGES = (
    *("content", "attachments", "status"),
    *("incomplete_reason", "completed_at", "incomplete_at"),
)
STEP_CHANGES = ("status", "ended_at", "prompt_tokens", "completion_tokens", "sent")


def store_draft(draft: Draft) -> None:
    """Insert or update the draft's message and step; call `update_last_position` first."""
    insert_many_tables(build_draft_inserts(draft))


def build_draft_inserts(draft: Draft) -> list[Insert]:
    """Return the inserts of `store_draft`, to be combined with other rows."""
    return [
        Insert(rows=[draft.message], changes=MESSAGE_CHANGES),
        Insert(rows=[draft.step], changes=STEP_CHANGES),
    ]


def update_last_position(draft: Draft) -> None:
    """Set the thread's last position to the draft's."""
    Thread.objects.filter(pk=draft.message.thread_id).update(last_position=draft.message.position)


def is_draft_stored(draft: Draft) -> bool:
    """Return whether the draft was already closed by a commit that was never confirmed."""
    stored: bool = RunStep.objects.filter(pk=draft.step.pk, status=draft.step.status).exists()
    return stored
