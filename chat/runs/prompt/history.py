"""Message history for a run's prompts: the thread before the run, and the run's own items.

The thread is read once, as far back as prompts need; each round of the run is added when it ends.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet

from chat.models import Message, Run, ToolCall
from chat.models.runs import CallStatus
from chat.runs.prompt import images
from chat.upstream.base import (
    FunctionCall,
    FunctionOutput,
    InputMessage,
    Item,
    Part,
    TextPart,
)
from tenants.compiled_queries import CompiledQuery

CHUNK_SIZE = 40
# Size of an image in the estimate, in bytes of text.
IMAGE_BYTES = 3_400
CALL_NOT_RUN = json.dumps({"error": {"code": "not_run", "message": "This call was not run."}})
MAX_POSITION = 2**62
# Message fields that a prompt needs.
MESSAGE_FIELDS = ("role", "position", "content", "run_ref", "created_at", "incomplete_reason")


@dataclass(frozen=True)
class Unit:
    """Indivisible part of the history: one message, or all text and tool calls of one run."""

    position: int
    items: tuple[Item, ...]

    @cached_property
    def tokens(self) -> int:
        """Estimated number of tokens."""
        return sum(estimate_tokens(item) for item in self.items)

    @property
    def is_answer(self) -> bool:
        """True for the text and tool calls of a run."""
        first = self.items[0]
        return not isinstance(first, InputMessage) or first.role == "assistant"


def estimate_tokens(item: Item) -> int:
    """Estimate the tokens of an item: four bytes per token, plus six for its framing.

    Only for budgets; billing uses the model server's own count.
    """
    if isinstance(item, InputMessage):
        size = sum(
            len(part.text.encode()) if isinstance(part, TextPart) else IMAGE_BYTES
            for part in item.parts
        )
    elif isinstance(item, FunctionCall):
        size = len(item.arguments.encode()) + len(item.name)
    else:
        size = len(item.output.encode())
    return size // 4 + 6


class History:
    """Message history of a run, read lazily. Call within a tenant transaction."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._own: tuple[Item, ...] = ()
        # Earlier messages, newest first; fully loaded when `_below` is None.
        self._before: list[Unit] = []
        self._below: int | None = MAX_POSITION
        # Runs already included in full by newer chunks; this run's items are in `_own`.
        self._included_runs = {run.pk}

    @classmethod
    def of(cls, run: Run) -> History:
        """Create a run's history, with the items of its earlier rounds if it has any."""
        history = cls(run)
        if run.rounds:
            said = _list_messages(run.thread_id).filter(
                run_ref=run.pk, position__gt=run.through_position
            )
            history._own = _build_run_items(said, _load_calls({run.pk}).get(run.pk, []))
        return history

    def add(self, said: Message | None, calls: Sequence[ToolCall]) -> None:
        """Add a finished round: its message, if any, and its tool calls."""
        self._own += _build_run_items([said] if said is not None else [], calls)

    def units(self) -> Iterator[Unit]:
        """Yield the units, newest first; the run's own unit comes first."""
        if self._own:
            yield Unit(MAX_POSITION, self._own)
        number = 0
        while True:
            while number < len(self._before):
                yield self._before[number]
                number += 1
            if self._below is None:
                return
            self._read_more(self._below)

    @cached_property
    def first_user_message(self) -> Unit | None:
        """First user message of the thread."""
        rows = _list_messages(self.run.thread_id).filter(role="user")
        first = rows.order_by("position").first()
        return Unit(first.position or 0, (_build_input_message(first),)) if first else None

    def _read_more(self, below: int) -> None:
        chunk = _chunk.read(thread_id=self.run.thread_id, below=below)
        runs = {message.run_ref for message in chunk if message.run_ref}
        self._before += reversed(list(_iter_units(chunk, runs - self._included_runs)))
        self._included_runs |= runs
        self._below = chunk[-1].position if len(chunk) == CHUNK_SIZE else None


def _list_messages(thread_id: Any) -> QuerySet[Message]:
    rows: QuerySet[Message] = Message.objects.in_thread().filter(thread_id=thread_id)
    return rows.only(*MESSAGE_FIELDS)


@CompiledQuery
def _chunk(*, thread_id: Any, below: Any) -> QuerySet[Message]:
    """Return the newest messages below a position, annotated with whether the run called tools."""
    called = Exists(ToolCall.objects.filter(run_id=OuterRef("run_ref")))
    rows: QuerySet[Message] = _list_messages(thread_id).filter(position__lt=below)
    return rows.annotate(has_calls=called).order_by("-position")[:CHUNK_SIZE]


def _iter_units(newest_first: Sequence[Message], runs: set[str]) -> Iterator[Unit]:
    """Yield units, oldest first: user messages, and the text and tool calls of these runs."""
    said: dict[str, list[Message]] = {run_id: [] for run_id in runs}
    for message in reversed(newest_first):
        if message.run_ref in runs:
            said[message.run_ref].append(message)
    # Most runs call no tools, so skip the query for them.
    called = {m.run_ref for m in newest_first if m.has_calls}  # type: ignore[attr-defined]
    calls = _load_calls(called & runs)
    for message in reversed(newest_first):
        run_id = message.run_ref
        if not run_id:
            yield Unit(message.position or 0, (_build_input_message(message),))
        elif run_id in said:
            messages = said.pop(run_id)
            items = _build_run_items(messages, calls.get(run_id, []))
            if items:
                yield Unit(messages[-1].position or 0, items)


def _load_calls(run_ids: set[str]) -> dict[str, list[ToolCall]]:
    """Return the tool calls of each run, in order."""
    calls: dict[str, list[ToolCall]] = {}
    if run_ids:
        rows = ToolCall.objects.filter(run_id__in=run_ids).defer("bound", "details")
        for call in rows.order_by("round", "index"):
            calls.setdefault(call.run_id, []).append(call)
    return calls


def _build_run_items(messages: Iterable[Message], calls: Iterable[ToolCall]) -> tuple[Item, ...]:
    """Return a run's items: for each round its text, then its tool calls and their outputs."""
    rounds: dict[int, list[ToolCall]] = {}
    for call in calls:
        rounds.setdefault(call.round, []).append(call)
    # A later step repeats an interrupted one, so the interrupted text is left out.
    moments: list[tuple[Any, int, tuple[Item, ...]]] = [
        (message.created_at, 0, (_build_input_message(message),))
        for message in messages
        if message.incomplete_reason != "run_failed"
    ]
    moments += [
        (group[0].created_at, 1, tuple(_iter_call_items(group))) for group in rounds.values()
    ]
    moments.sort(key=lambda moment: moment[:2])
    return tuple(item for moment in moments for item in moment[2])


def _iter_call_items(calls: Sequence[ToolCall]) -> Iterator[Item]:
    for call in calls:
        yield FunctionCall(call_id=call.pk, name=call.name, arguments=call.arguments or "{}")
    for call in calls:
        output = call.output
        if output is None or call.status == CallStatus.CANCELLED:
            output = CALL_NOT_RUN
        yield FunctionOutput(call_id=call.pk, output=output)


def _build_input_message(message: Message) -> InputMessage:
    parts: list[Part] = [part for raw in message.content for part in _iter_parts(raw)]
    role = "assistant" if message.role == "assistant" else "user"
    return InputMessage(role=role, parts=tuple(parts))  # type: ignore[arg-type,unused-ignore]


def _iter_parts(raw: dict[str, Any]) -> Iterator[Part]:
    if raw["type"] == "text":
        yield TextPart(text=raw["text"]["value"])
    elif raw["type"] == "refusal":
        yield TextPart(text=raw["refusal"])
    elif raw["type"] == "image_url":
        image = raw["image_url"]
        yield images.build_linked_part(image["url"], image.get("detail", "auto"))
    elif raw["type"] == "image_file":
        image = raw["image_file"]
        yield images.build_placeholder(image["file_id"], image.get("detail", "auto"))
