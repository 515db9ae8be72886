"""Start runs after their transaction commits, and publish changes of rows to readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from django.db import transaction

from chat import wire
from chat.models import Message, Run, Thread
from chat.runs.engine.worker import worker
from chat.runs.state import create, queue, recovery
from chat.runs.state.turn import ClaimedRun, Event
from tenants.scope import tenant_scope


def launch(
    run: Run,
    *,
    message: Message | None = None,
    resumed: bool = False,
    told: Sequence[Event] = (),
) -> None:
    """Execute a new run once the caller's transaction is committed.

    A run claimed for this process becomes a task here. An unclaimed one (no event loop, or the
    process is full) becomes a job, deferred in the same transaction. The events in `told` are
    published before all others.
    """
    started = queue.build_claimed_run(run, message=message, resumed=resumed)
    if started is not None:
        submit_on_commit(replace(started, announce=(*told, *started.announce)))


def get_active_run_id(thread_id: str, *, member_id: UUID) -> str | None:
    """Return the id of the active run of a locked thread; None if a new one may start.

    An overdue run that no process ended is ended first.

    Raises:
        TooManyRuns: no run is active here, but the member or the tenant has reached its limit of
            active runs.
    """
    active = create.find_active(thread_id, member_id=member_id)
    if active is not None and recovery.is_overdue(active.expires_at):
        _end_overdue(active.run_id)
        active = create.find_active(thread_id, member_id=member_id)
    return active.run_id if active else None


def end_overdue_run(tenant_id: UUID, thread_id: str) -> None:
    """End a thread's active run if it is overdue and no process ended it.

    Called on reads, so that a chat is not blocked even if no worker runs. Opens a scope and a
    transaction, or joins the caller's.
    """
    with tenant_scope(tenant_id), transaction.atomic():
        Thread.objects.locked().filter(pk=thread_id).first()
        run = Run.objects.active().filter(thread_id=thread_id).first()
        if run is not None and recovery.is_overdue(run.expires_at):
            _end_overdue(run.pk)


def _end_overdue(run_id: str) -> None:
    ended, following = recovery.end_overdue(run_id, owner=worker.claim_owner)
    publish_run_row(ended)
    submit_on_commit(following)


def submit_on_commit(started: ClaimedRun | None) -> None:
    """Execute a run claimed for this process after the commit; do nothing for None."""
    if started is not None:
        transaction.on_commit(lambda: worker.submit(started))


def publish_run_row(run: Run) -> None:
    """Publish, after the commit, the status of a run that changed without a task.

    If the run ended, the steps that ended with it are published first.
    """
    rendered = ((f"thread.run.{run.status}", wire.run_object(run)),)
    for event, data in rendered if run.ended_at is None else recovery.list_end_announcements(run):
        notify_readers(run.tenant_id, run.thread_id, event, data)


def notify_readers(tenant_id: UUID, thread_id: str, event: str, data: dict[str, Any]) -> None:
    """Notify the thread's readers once the caller's transaction is committed."""
    transaction.on_commit(lambda: worker.notify(tenant_id, thread_id, event, data))
