"""Stored state of a thread and its runs, for readers of a run that is not live here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction

from chat import wire
from chat.errors import NotFound
from chat.models import Message, Run, RunStep, Thread, ToolCall
from chat.runs.events import Entry
from chat.runs.state.turn import STATE_MARGIN
from chat.tools import registry
from tenants.authentication import Principal
from tenants.scope import tenant_scope

# A stored state number is at most this far ahead of the last published one.
STATE_AHEAD = 2 * STATE_MARGIN


@dataclass(frozen=True, kw_only=True)
class ActiveRunRow:
    """Active run of a thread, and the process that executes it, if any.

    The process with the run's latest claim has published a state number of at least `state`.
    """

    run: str
    status: str
    owner: UUID | None
    state: int = 0

    @classmethod
    def of(cls, run: Run) -> ActiveRunRow:
        """Return the active run described by the row."""
        return cls(
            run=run.pk, status=run.status, owner=run.owner, state=_compute_published_state(run)
        )


def _compute_published_state(run: Run) -> int:
    return max(0, run.state - STATE_AHEAD)


@dataclass(frozen=True, kw_only=True)
class StoredThread:
    """Stored state of a thread: wire objects, and the events of each requested run."""

    thread: dict[str, Any]
    active_run: dict[str, Any] | None
    events: tuple[Entry, ...]
    active: ActiveRunRow | None


def read_thread(principal: Principal, thread_id: str, *, run_id: str | None) -> StoredThread:
    """Return a thread, its active run, and the stored events of `run_id` and of the active run.

    Raises:
        NotFound: the principal has no thread of this id.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        thread = Thread.objects.visible_to(principal).filter(pk=thread_id).first()
        if thread is None:
            raise NotFound(f"No thread found with id '{thread_id}'.", param="thread")
        runs = Run.objects.filter(thread=thread).select_related("assistant")
        active = runs.active().first()
        runs_to_read = [] if run_id is None else list(runs.filter(pk=run_id))
        if active is not None and active not in runs_to_read:
            runs_to_read.append(active)
        labels = registry.get_labels()
        events = tuple(event for run in runs_to_read for event in build_events(run, labels))
        calls = list(ToolCall.objects.filter(run=active)) if active else []
        return StoredThread(
            thread=wire.thread_object(thread),
            active_run=wire.run_object(active, calls=calls, labels=labels) if active else None,
            events=events,
            active=ActiveRunRow.of(active) if active else None,
        )


def read_active(tenant_id: UUID, thread_id: str) -> ActiveRunRow | None:
    """Return the active run of a thread whose readers are already authorised."""
    with tenant_scope(tenant_id), transaction.atomic():
        run = Run.objects.active().filter(thread_id=thread_id).first()
        return ActiveRunRow.of(run) if run else None


def read_runs(tenant_id: UUID, thread_id: str, run_ids: Collection[str]) -> tuple[Entry, ...]:
    """Return the stored events of runs of a thread whose readers are already authorised."""
    with tenant_scope(tenant_id), transaction.atomic():
        rows = Run.objects.filter(thread_id=thread_id, pk__in=run_ids)
        labels = registry.get_labels()
        runs = rows.select_related("assistant").order_by("created_at", "id")
        return tuple(event for run in runs for event in build_events(run, labels))


def build_events(run: Run, labels: dict[str, str]) -> list[Entry]:
    """Return a run's stored state as events: its complete items, then its status."""
    calls = list(ToolCall.objects.filter(run=run).order_by("round", "index"))
    messages = {
        message.pk: message
        for message in Message.objects.filter(run_ref=run.pk).select_related("assistant")
    }
    active = run.is_active
    state = _compute_published_state(run) if active else run.state
    entries: list[Entry] = []

    def add(event: str, data: dict[str, Any]) -> None:
        entries.append(Entry(run.pk, state, event, data, approximate=active))

    for step in RunStep.objects.filter(run=run).order_by("index"):
        message = messages.get(step.message_id or "")
        if message is not None:
            body = wire.message_object(message)
            add(f"thread.message.{message.status}", body)
        own = [call for call in calls if call.step_id == step.pk]
        body = wire.step_object(step, run=run, calls=own, labels=labels)
        add(f"thread.run.step.{step.status}", body)
    add(
        f"thread.run.{run.status}",
        wire.run_object(run, calls=calls if active else (), labels=labels),
    )
    return entries
