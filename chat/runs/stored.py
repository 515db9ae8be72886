"""What the rows say of a thread and its runs: for readers of a run that is not live here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from chat import wire
from chat.errors import NotFound
from chat.models import Message, Run, RunStep, Thread, ToolCall
from chat.runs.live import Entry
from chat.tools import registry
from tenants.access import Principal
from tenants.scope import tenant_scope


@dataclass(frozen=True, kw_only=True)
class StoredThread:
    """A thread as its rows have it: objects of the wire, and each run's events."""

    thread: dict[str, Any]
    active_run: dict[str, Any] | None
    events: tuple[Entry, ...]


def read_thread(principal: Principal, thread_id: str, *, run_id: str | None) -> StoredThread:
    """Return a thread, its active run, and the stored events of `run_id` and of the active run.

    Raises:
        NotFound: for an unknown thread.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        thread = Thread.objects.for_principal(principal).filter(pk=thread_id).first()
        if thread is None:
            raise NotFound(f"No thread found with id '{thread_id}'.", param="thread")
        runs = Run.objects.filter(thread=thread).select_related("assistant")
        active = runs.active().first()
        wanted = [] if run_id is None else list(runs.filter(pk=run_id))
        if active is not None and active not in wanted:
            wanted.append(active)
        labels = registry.labels()
        events = tuple(event for run in wanted for event in _events(run, labels))
        calls = list(ToolCall.objects.filter(run=active)) if active else []
        return StoredThread(
            thread=wire.thread_object(thread),
            active_run=wire.run_object(active, calls=calls, labels=labels) if active else None,
            events=events,
        )


def _events(run: Run, labels: dict[str, str]) -> list[Entry]:
    """Return a run's stored state as events: its items whole, then its status."""
    calls = list(ToolCall.objects.filter(run=run).order_by("round", "index"))
    messages = {
        message.pk: message
        for message in Message.objects.filter(run_ref=run.pk).select_related("assistant")
    }
    entries = []
    for step in RunStep.objects.filter(run=run).order_by("index"):
        message = messages.get(step.message_id or "")
        if message is not None:
            body = wire.message_object(message)
            entries.append(Entry(run.pk, run.state, f"thread.message.{message.status}", body))
        own = [call for call in calls if call.step_id == step.pk]
        body = wire.step_object(step, run=run, calls=own, labels=labels)
        entries.append(Entry(run.pk, run.state, f"thread.run.step.{step.status}", body))
    rendered = wire.run_object(run, calls=calls if run.is_active else (), labels=labels)
    entries.append(Entry(run.pk, run.state, f"thread.run.{run.status}", rendered))
    return entries
