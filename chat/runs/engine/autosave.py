"""Autosave: store the unfinished texts of this process about once a second.

Saves that are due at the same time are batched into one small statement per tenant, and no commit
waits for the disk. Short answers end before their first autosave.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from uuid import UUID

import structlog
from django.db import DatabaseError

from chat.conf import conf
from chat.runs.state.claims import ClaimLapsed
from chat.runs.state.drafts import DraftSnapshot, insert_snapshot, update_snapshots
from chat.runs.state.turn import Turn
from tenants.db import DatabasePool, run_in_pool, set_pool_tenant

CHECKS_PER_INTERVAL = 4  # checks per autosave interval

log = structlog.get_logger(__name__)


class Autosaver:
    """Autosave of the turns that are streaming text in this process."""

    def __init__(self) -> None:
        self.turns: dict[str, Turn] = {}
        self.saver: asyncio.Task[None] | None = None
        # The running write of each tenant; texts that grow meanwhile are batched into the next.
        self.writing: dict[UUID, asyncio.Task[None]] = {}

    @contextmanager
    def of(self, turn: Turn) -> Iterator[None]:
        """Autosave the turn's text while the context is open."""
        self.turns[turn.run.pk] = turn
        if self.saver is None or self.saver.done():
            self.writing = {}
            # The task outlives this run, so it does not inherit its log context.
            self.saver = asyncio.create_task(
                self._save_periodically(), context=contextvars.Context()
            )
        try:
            yield
        finally:
            self.turns.pop(turn.run.pk, None)
            if not self.turns:
                self.saver.cancel()

    async def _save_periodically(self) -> None:
        while True:
            await asyncio.sleep(conf.partial_seconds / CHECKS_PER_INTERVAL)
            grown: dict[UUID, list[Turn]] = defaultdict(list)
            for turn in self.turns.values():
                if not _is_due(turn):
                    continue
                if turn.draft is not None and turn.draft.stored:
                    grown[turn.claim.tenant_id].append(turn)
                else:
                    _store([turn], insert_snapshot)
            self.writing = {
                tenant: task for tenant, task in self.writing.items() if not task.done()
            }
            for tenant, turns in grown.items():
                if tenant not in self.writing:
                    self.writing[tenant] = _store(turns, update_snapshots)


autosaver = Autosaver()


def _is_due(turn: Turn) -> bool:
    draft = turn.draft
    if draft is None or not draft.grown or (turn.autosave_task and not turn.autosave_task.done()):
        return False
    return bool(monotonic() - draft.saved_at >= conf.partial_seconds)


def _store(
    turns: Sequence[Turn], write: Callable[[Sequence[DraftSnapshot]], set[str]]
) -> asyncio.Task[None]:
    """Store snapshots of the texts in a task, and set it as `saving` of each turn."""
    snapshots = [DraftSnapshot.of(turn) for turn in turns]
    task = asyncio.create_task(_write(snapshots, turns, write))
    for turn in turns:
        turn.autosave_task = task
    return task


async def _write(
    snapshots: Sequence[DraftSnapshot],
    turns: Sequence[Turn],
    write: Callable[[Sequence[DraftSnapshot]], set[str]],
) -> None:
    set_pool_tenant(snapshots[0].claim.tenant_id)
    try:
        # In a separate pool: a statement that waits for a row lock delays no other work.
        claimed = await run_in_pool(DatabasePool.AUTOSAVE, write, snapshots)
    except DatabaseError as error:
        # The complete text is stored when the run ends.
        log.warning("autosave_failed", error=type(error).__qualname__, runs=len(snapshots))
        return
    for snapshot, turn in zip(snapshots, turns, strict=True):
        snapshot.draft.stored = True
        turn.lapsed = turn.lapsed or snapshot.claim.run_id not in claimed


async def wait_for_autosave(turn: Turn) -> None:
    """Wait for the autosave in progress.

    Raises:
        ClaimLapsed: an autosave found that another process took over.
    """
    if turn.autosave_task is not None:
        saving, turn.autosave_task = turn.autosave_task, None
        await asyncio.wait({saving})
    if turn.lapsed:
        raise ClaimLapsed(turn.run.pk)
