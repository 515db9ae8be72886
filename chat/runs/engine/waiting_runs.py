"""Runs of this process that wait for their model server to recover, and then for capacity.

Each waits in a task without a database connection and does not count towards the process's run
limits. Its row stores when the next request is due, so that other processes can show it and, after
a take-over, the new owner knows that no request was in progress.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.db import DatabaseError, connection, transaction

from chat import wire
from chat.runs.state.claims import Claim
from chat.runs.state.turn import Turn
from tenants import clock
from tenants.db import in_db
from tenants.scope import tenant_scope

# Changes within this time are stored together.
BATCH_SECONDS = 0.05

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Wait of a claimed run. `retry_at` is None once it has ended; `state` is stored with it."""

    claim: Claim
    retry_at: datetime | None
    state: int


def is_never_full(tenant_id: UUID) -> bool:
    """Return False (not full), for a process without a worker."""
    return False


class WaitingRuns:
    """Registry of waiting runs and of changes that are not stored yet.

    `is_full_for` returns whether the process has no capacity for another run of a tenant.
    """

    def __init__(self) -> None:
        self.is_full_for: Callable[[UUID], bool] = is_never_full
        self._waiting: set[str] = set()
        # Runs whose model server is back and that wait for capacity, in order.
        self._held: dict[Claim, asyncio.Event] = {}
        self._unsaved: dict[str, Wait] = {}
        self._saving: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._waiting

    def update_wait(self, turn: Turn, seconds: float | None) -> None:
        """Publish that the next request is due in `seconds`; None ends the wait.

        If the run is being cancelled, the end of the wait is not published.
        """
        run = turn.run
        if seconds is None:
            self._waiting.discard(run.pk)
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                return
            run.retry_at = None
        else:
            self._waiting.add(run.pk)
            self.resume_held()
            run.retry_at = clock.now() + timedelta(seconds=seconds)
        turn.live.publish("thread.run.in_progress", wire.run_object(run))
        self._unsaved[run.pk] = Wait(
            claim=turn.claim, retry_at=run.retry_at, state=turn.state_to_store
        )
        if self._saving is None or self._saving.done():
            # The task outlives this run, so it does not inherit its log context.
            self._saving = asyncio.create_task(self._save(), context=contextvars.Context())

    async def wait_for_capacity(self, turn: Turn) -> None:
        """Wait until the process has capacity for a run whose model server is back.

        Otherwise all runs that waited for the server would resume at once.
        """
        claim = turn.claim
        self._waiting.add(claim.run_id)  # does not count while it asks for capacity
        if not self.is_full_for(claim.tenant_id):
            self._waiting.discard(claim.run_id)
            return
        has_room = self._held[claim] = asyncio.Event()
        try:
            self.update_wait(turn, 0.0)
            await has_room.wait()
        finally:
            self._held.pop(claim, None)
            self.update_wait(turn, None)

    def resume_held(self) -> None:
        """Resume runs that wait for capacity, in order, as far as there is any."""
        for claim, has_room in list(self._held.items()):
            if not has_room.is_set() and not self.is_full_for(claim.tenant_id):
                self._waiting.discard(claim.run_id)
                has_room.set()

    async def _save(self) -> None:
        while self._unsaved:
            await asyncio.sleep(BATCH_SECONDS)
            changed, self._unsaved = self._unsaved, {}
            by_tenant: dict[UUID, list[Wait]] = defaultdict(list)
            for wait in changed.values():
                by_tenant[wait.claim.tenant_id].append(wait)
            for waits in by_tenant.values():
                try:
                    await in_db(store_waits, waits)
                except DatabaseError as error:
                    # Local readers have the event; the next change is stored again.
                    log.warning("wait_save_failed", error=type(error).__qualname__)


waiting_runs = WaitingRuns()

UPDATE_WAITS = """
UPDATE chat_run AS run SET retry_at = wait.retry_at, state = greatest(run.state, wait.state)
FROM unnest(%s::text[], %s::uuid[], %s::int[], %s::timestamptz[], %s::bigint[])
    AS wait (run_id, owner, token, retry_at, state)
WHERE run.id = wait.run_id AND run.owner = wait.owner AND run.token = wait.token
    AND run.status = 'in_progress'
"""


def store_waits(waits: Sequence[Wait]) -> None:
    """Store the waits of those of one tenant's runs that are still claimed."""
    rows = [
        (wait.claim.run_id, wait.claim.owner, wait.claim.token, wait.retry_at, wait.state)
        for wait in waits
    ]
    with (
        tenant_scope(waits[0].claim.tenant_id),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(UPDATE_WAITS, [list(column) for column in zip(*rows, strict=True)])
