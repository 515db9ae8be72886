"""Bodies for the chat page: the chats, a chat's history with its steps, a created message."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import F, Q, QuerySet

from chat import ids, wire
from chat.actions.send_message import CreatedMessage
from chat.errors import NotFound
from chat.models import Assistant, Message, Run, RunStep, Thread, ToolCall
from chat.models.threads import find_own_thread
from chat.runs.engine.launch import end_overdue_run
from chat.runs.state.recovery import is_overdue
from chat.tools import registry
from tenants.authentication import Principal
from tenants.compiled_queries import AnyOf, CompiledQuery

THREADS_PER_PAGE = 30
MESSAGES_PER_PAGE = 40


def require_thread_id(value: str) -> str:
    """Return `value` if it is a well-formed thread id; PostgreSQL rejects some strings.

    Raises:
        NotFound: the value is not a well-formed thread id.
    """
    if not ids.is_id(value, "thread_"):
        raise NotFound()
    return value


def find_thread(principal: Principal, thread_id: str) -> Thread:
    """Return the principal's own thread.

    Raises:
        NotFound: the id is unknown or belongs to another principal.
    """
    thread = find_own_thread.first(principal=principal, thread_id=require_thread_id(thread_id))
    if thread is None:
        raise NotFound()
    return thread


def get_thread_page(principal: Principal, *, after: str | None = None) -> dict[str, Any]:
    """Return {data, has_more}: chats by last activity, following the chat `after`.

    Raises:
        NotFound: `after` is unknown.
    """
    previous = find_thread(principal, after) if after else None
    place = {"updated_at": previous.updated_at, "row_id": previous.pk} if previous else {}
    rows = _newest_threads.read(principal=principal, **place)
    threads = [wire.thread_object(thread) for thread in rows]
    return {"data": threads[:THREADS_PER_PAGE], "has_more": len(threads) > THREADS_PER_PAGE}


@CompiledQuery
def _newest_threads(
    *, principal: Any, updated_at: Any = None, row_id: Any = None
) -> QuerySet[Thread]:
    previous = None if row_id is None else Thread(id=row_id, updated_at=updated_at)
    rows: QuerySet[Thread] = Thread.objects.visible_to(principal).newest_first(after=previous)
    return rows[: THREADS_PER_PAGE + 1]


def get_message_page(
    principal: Principal, thread_id: str, *, before: str | None = None
) -> dict[str, Any]:
    """Return one page of a chat's history, oldest first, with its runs and steps.

    Keys: thread, data, runs {id: run}, steps {run id: [step]}, after {run id: id of the
    message below which a run without text is shown}, has_more, queued, active_run.

    Raises:
        NotFound: the thread or `before` is unknown.
    """
    thread = find_thread(principal, thread_id)
    messages, has_more = _load_messages(thread, before)
    runs = _load_runs(thread, messages)
    steps = _load_steps(runs)
    calls = _load_calls(steps)
    active = next((run for run in runs if run.is_active), None)
    if active is not None and is_overdue(active.expires_at):
        end_overdue_run(principal.tenant_id, thread.pk)
        return get_message_page(principal, thread_id, before=before)
    waiting = [] if before else _list_queued_messages.read(thread_id=thread.pk)
    _load_assistants([*messages, *runs, *waiting])
    labels = registry.get_labels()
    return {
        "thread": wire.thread_object(thread),
        "data": [wire.message_object(message) for message in messages],
        "runs": {run.id: _render_run(run, calls, labels) for run in runs},
        "steps": _render_steps(runs, steps, calls, labels),
        "after": _map_runs_to_messages(runs, messages),
        "has_more": has_more,
        "queued": [wire.message_object(message) for message in waiting],
        "active_run": _render_run(active, calls, labels) if active else None,
    }


def _render_run(
    run: Run, calls: dict[str, list[ToolCall]], labels: dict[str, str]
) -> wire.WireObject:
    return wire.run_object(run, calls=calls[run.id], labels=labels)


def _load_assistants(rows: Sequence[Message | Run]) -> None:
    """Set each row's assistant; most pages have only one, which a join would repeat per row."""
    assistant_ids = list({row.assistant_id for row in rows if row.assistant_id})
    found = _assistants.read(chosen=assistant_ids) if assistant_ids else []
    known: dict[Any, Assistant] = {item.pk: item for item in found}
    for row in rows:
        row.assistant = known.get(row.assistant_id)


def _load_messages(thread: Thread, before: str | None) -> tuple[list[Message], bool]:
    limit = {"below": _get_position(thread, before)} if before is not None else {}
    found = _newest_messages.read(thread_id=thread.pk, **limit)
    return found[:MESSAGES_PER_PAGE][::-1], len(found) > MESSAGES_PER_PAGE


def _get_position(thread: Thread, message_id: str) -> int:
    rows = Message.objects.in_thread().filter(thread=thread, pk=message_id)
    known = ids.is_id(message_id, "msg_")
    position: int | None = rows.values_list("position", flat=True).first() if known else None
    if position is None:
        raise NotFound()
    return position


def _load_runs(thread: Thread, messages: Sequence[Message]) -> list[Run]:
    """Return the runs that wrote or answered one of `messages`, ordered by start."""
    if not messages:
        return []
    return _runs_for_messages.read(
        thread_id=thread.pk,
        named=[message.run_ref for message in messages if message.run_ref],
        first=messages[0].position,
        last=messages[-1].position,
        since=min(message.created_at for message in messages),
    )


def _load_steps(runs: Sequence[Run]) -> list[RunStep]:
    return _steps_by_run.read(runs=[run.pk for run in runs]) if runs else []


def _load_calls(steps: Sequence[RunStep]) -> dict[str, list[ToolCall]]:
    """Return the tool calls of each run that has any."""
    found: dict[str, list[ToolCall]] = defaultdict(list)
    if used := {step.run_id for step in steps if step.type == "tool_calls"}:
        for call in _calls_by_run.read(runs=list(used)):
            found[call.run_id].append(call)
    return found


@CompiledQuery
def _newest_messages(*, thread_id: Any, below: Any = None) -> QuerySet[Message]:
    rows: QuerySet[Message] = Message.objects.in_thread().filter(thread_id=thread_id)
    if below is not None:
        rows = rows.filter(position__lt=below)
    return rows.order_by("-position")[: MESSAGES_PER_PAGE + 1]


@CompiledQuery
def _list_queued_messages(*, thread_id: Any) -> QuerySet[Message]:
    rows: QuerySet[Message] = Message.objects.filter(thread_id=thread_id).queued()
    return rows


@CompiledQuery
def _runs_for_messages(
    *, thread_id: Any, named: Any, first: Any, last: Any, since: Any
) -> QuerySet[Run]:
    answered = Q(through_position__gte=first, through_position__lte=last, created_at__gte=since)
    rows: QuerySet[Run] = Run.objects.filter(thread_id=thread_id)
    return rows.filter(Q(AnyOf(F("id"), named)) | answered).order_by("created_at", "id")


@CompiledQuery
def _steps_by_run(*, runs: Any) -> QuerySet[RunStep]:
    rows: QuerySet[RunStep] = RunStep.objects.filter(AnyOf(F("run_id"), runs))
    # `sent` lists every message of the prompt and is used only by the trace.
    return rows.defer("sent").order_by("run_id", "index")


@CompiledQuery
def _calls_by_run(*, runs: Any) -> QuerySet[ToolCall]:
    rows: QuerySet[ToolCall] = ToolCall.objects.filter(AnyOf(F("run_id"), runs))
    return rows.order_by("run_id", "round", "index")


@CompiledQuery
def _assistants(*, chosen: Any) -> QuerySet[Assistant]:
    rows: QuerySet[Assistant] = Assistant.objects.filter(AnyOf(F("id"), chosen))
    return rows


def _render_steps(
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


def _map_runs_to_messages(runs: Sequence[Run], messages: Sequence[Message]) -> dict[str, str]:
    places: dict[str, str] = {}
    for run in runs:
        for message in messages:
            if message.role == "user" and (message.position or 0) <= run.through_position:
                places[run.pk] = message.pk
    return places


def titles_of(principal: Principal, thread_ids: Iterable[str]) -> dict[str, str]:
    """Return the titles of the principal's own chats among `thread_ids` that still exist."""
    own = Thread.objects.visible_to(principal).filter(pk__in=list(thread_ids))
    return {thread.pk: str(thread) for thread in own}


def render_created_message(sent: CreatedMessage) -> dict[str, Any]:
    """Return the response to a created message."""
    return {
        "thread": wire.thread_object(sent.thread),
        "message": wire.message_object(sent.message),
        "run": wire.run_object(sent.run) if sent.run else None,
        "queued": sent.message.position is None,
    }
