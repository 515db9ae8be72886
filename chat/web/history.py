"""What the page lists: chats by last activity, and the history of one with its steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from django.db.models import Q

from chat import ids, wire
from chat.errors import NotFound
from chat.models import Assistant, Message, Run, RunStep, Thread, ToolCall
from chat.models.threads import MessageQuerySet
from chat.tools import registry
from tenants.access import Principal

THREADS = 30
MESSAGES = 40


def thread_form(value: str) -> str:
    """Return `value` when it has the form of a thread's id; PostgreSQL refuses some texts.

    Raises:
        NotFound: for any other text.
    """
    if not ids.is_id(value, "thread_"):
        raise NotFound()
    return value


def find_thread(principal: Principal, thread_id: str) -> Thread:
    """Return the principal's own thread.

    Raises:
        NotFound: for an unknown id and for somebody else's alike.
    """
    threads = Thread.objects.for_principal(principal).filter(pk=thread_form(thread_id))
    thread: Thread | None = threads.first()
    if thread is None:
        raise NotFound()
    return thread


def thread_page(principal: Principal, *, after: str | None = None) -> dict[str, Any]:
    """Return {data, has_more}: chats by last activity, behind the chat `after`.

    Raises:
        NotFound: for an unknown `after`.
    """
    behind = find_thread(principal, after) if after else None
    rows = Thread.objects.for_principal(principal).newest_first(after=behind)[: THREADS + 1]
    threads = [wire.thread_object(thread) for thread in rows]
    return {"data": threads[:THREADS], "has_more": len(threads) > THREADS}


def message_page(
    principal: Principal, thread_id: str, *, before: str | None = None
) -> dict[str, Any]:
    """Return one page of a chat's history, oldest first, with everything drawn beside it.

    Keys: thread, data, runs {id: run}, steps {run id: [step]}, after {run id: message id
    below which a run without text stands}, has_more, queued, active_run.

    Raises:
        NotFound: for an unknown thread or `before`.
    """
    thread = find_thread(principal, thread_id)
    messages, has_more = _messages(thread, before)
    runs = _runs(thread, messages)
    steps = _steps(runs)
    calls = _calls(steps)
    active = next((run for run in runs if run.is_active), None)
    waiting = [] if before else list(_messages_of(thread).queued())
    _load_assistants([*messages, *runs, *waiting])
    labels = registry.labels()
    return {
        "thread": wire.thread_object(thread),
        "data": [wire.message_object(message) for message in messages],
        "runs": {run.id: _run(run, calls, labels) for run in runs},
        "steps": _step_objects(runs, steps, calls, labels),
        "after": _places(runs, messages),
        "has_more": has_more,
        "queued": [wire.message_object(message) for message in waiting],
        "active_run": _run(active, calls, labels) if active else None,
    }


def _run(run: Run, calls: dict[str, list[ToolCall]], labels: dict[str, str]) -> wire.WireObject:
    return wire.run_object(run, calls=calls[run.id], labels=labels)


def _load_assistants(rows: Sequence[Message | Run]) -> None:
    """Give each row its assistant: most pages have one, which a join would bring with each row."""
    known = Assistant.objects.in_bulk({row.assistant_id for row in rows if row.assistant_id})
    for row in rows:
        row.assistant = known.get(row.assistant_id)


def _messages_of(thread: Thread) -> MessageQuerySet:
    rows: MessageQuerySet = Message.objects.filter(thread=thread)
    return rows


def _messages(thread: Thread, before: str | None) -> tuple[list[Message], bool]:
    rows = _messages_of(thread).placed().order_by("-position")
    if before is not None:
        known = ids.is_id(before, "msg_")
        limit = rows.filter(pk=before).values_list("position", flat=True).first() if known else None
        if limit is None:
            raise NotFound()
        rows = rows.filter(position__lt=limit)
    found = list(rows[: MESSAGES + 1])
    return found[:MESSAGES][::-1], len(found) > MESSAGES


def _runs(thread: Thread, messages: Sequence[Message]) -> list[Run]:
    """Return the runs that wrote or answered one of `messages`, in the order of their start."""
    if not messages:
        return []
    named = Q(pk__in={message.run_ref for message in messages if message.run_ref})
    span = (messages[0].position, messages[-1].position)
    since = min(message.created_at for message in messages)
    answered = Q(through_position__range=span, created_at__gte=since)
    rows = Run.objects.filter(named | answered, thread=thread)
    return list(rows.order_by("created_at", "id"))


def _steps(runs: Sequence[Run]) -> list[RunStep]:
    rows = RunStep.objects.filter(run__in=[run.pk for run in runs])
    return list(rows.order_by("run_id", "index"))


def _calls(steps: Sequence[RunStep]) -> dict[str, list[ToolCall]]:
    """Return the calls of each run that made any."""
    found: dict[str, list[ToolCall]] = defaultdict(list)
    if used := {step.run_id for step in steps if step.type == "tool_calls"}:
        rows = ToolCall.objects.filter(run__in=used)
        for call in rows.order_by("run_id", "round", "index"):
            found[call.run_id].append(call)
    return found


def _step_objects(
    runs: Sequence[Run],
    steps: Sequence[RunStep],
    calls: dict[str, list[ToolCall]],
    labels: dict[str, str],
) -> dict[str, Any]:
    by_id = {run.pk: run for run in runs}
    found: dict[str, Any] = defaultdict(list)
    for step in steps:
        own = [call for call in calls[step.run_id] if call.step_id == step.pk]
        run = by_id[step.run_id]
        found[run.pk].append(wire.step_object(step, run=run, calls=own, labels=labels))
    return dict(found)


def _places(runs: Sequence[Run], messages: Sequence[Message]) -> dict[str, str]:
    places: dict[str, str] = {}
    for run in runs:
        for message in messages:
            if message.role == "user" and (message.position or 0) <= run.through_position:
                places[run.pk] = message.pk
    return places
