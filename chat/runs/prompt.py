"""The prompt of a model round: which part of the thread goes to the model, in which form."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chat.conf import conf
from chat.models import Message, Run, RunStep, ToolCall
from chat.models.runs import CallStatus
from chat.upstream.base import (
    FunctionCall,
    FunctionOutput,
    ImagePart,
    InputMessage,
    Item,
    Part,
    TextPart,
)

CHUNK = 40
UNANSWERED = json.dumps({"error": {"code": "not_run", "message": "This call was not run."}})


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """`items` in order; `dropped` tells that older messages were left out.

    `new_items` are those a server-kept conversation does not have yet.
    """

    items: tuple[Item, ...]
    new_items: tuple[Item, ...]
    dropped: bool
    tokens: int


@dataclass(frozen=True)
class Unit:
    """A message, or everything one run said and called: never split."""

    position: int
    items: tuple[Item, ...]

    @property
    def tokens(self) -> int:
        """The estimate of its tokens."""
        return sum(estimate_tokens(item) for item in self.items)


def estimate_tokens(item: Item) -> int:
    """Estimate the tokens of an item: four bytes each and a little for its frame.

    Only for budgets; what is billed is what the server counts.
    """
    if isinstance(item, InputMessage):
        texts = [part.text if isinstance(part, TextPart) else "x" * 3400 for part in item.parts]
        size = sum(len(text.encode()) for text in texts)
    elif isinstance(item, FunctionCall):
        size = len(item.arguments.encode()) + len(item.name)
    else:
        size = len(item.output.encode())
    return size // 4 + 6


def build_prompt(run: Run, *, synced_through: int | None = None) -> Prompt:
    """Read the newest messages of the run's thread that fit its budget.

    `auto` keeps the first user message and the newest ones and drops from the
    middle; `last_messages` keeps that many. Reads by keyset, so the cost does
    not grow with the thread. Must run in the tenant's scope and a transaction.
    """
    budget = min(run.max_prompt_tokens or conf.prompt_tokens, conf.prompt_tokens)
    budget -= len(run.instructions.encode()) // 4
    strategy = run.truncation_strategy or {}
    most = strategy.get("last_messages") if strategy.get("type") == "last_messages" else None
    kept: list[Unit] = []
    used = 0
    complete = True
    for unit in newest_units(run):
        if kept and (used + unit.tokens > budget or (most is not None and len(kept) >= most)):
            complete = False
            break
        kept.append(unit)
        used += unit.tokens
    kept.reverse()
    if not complete and most is None:
        first = _first_user_unit(run)
        if first is not None and kept and first.position < kept[0].position:
            while len(kept) > 1 and used + first.tokens > budget:
                used -= kept.pop(0).tokens
            kept.insert(0, first)
            used += first.tokens
    items = tuple(item for unit in kept for item in unit.items)
    new = items
    if synced_through is not None:
        new = tuple(i for unit in kept if unit.position > synced_through for i in unit.items)
    return Prompt(items=items, new_items=new, dropped=not complete, tokens=used)


def newest_units(run: Run) -> Iterator[Unit]:
    """Yield the thread's units from the newest back, the run's own tool rounds first."""
    own = _run_units(run.pk, [])
    rows = (
        Message.objects.placed()
        .filter(thread_id=run.thread_id)
        .order_by("-position")
        .defer("metadata", "attachments")
    )
    below: int | None = None
    while True:
        chunk = list((rows if below is None else rows.filter(position__lt=below))[:CHUNK])
        if below is None and not any(message.run_ref == run.pk for message in chunk):
            yield from own
        yield from reversed(list(_units(chunk)))
        if len(chunk) < CHUNK:
            return
        below = chunk[-1].position


def _units(newest_first: Sequence[Message]) -> Iterator[Unit]:
    """Yield units from old to new: user messages, and runs with their calls in step order."""
    by_run: dict[str, list[Message]] = {}
    for message in reversed(newest_first):
        if message.run_ref:
            by_run.setdefault(message.run_ref, []).append(message)
    steps = _steps_of(list(by_run))
    done: set[str] = set()
    for message in reversed(newest_first):
        if not message.run_ref:
            yield Unit(message.position or 0, (_input_message(message),))
        elif message.run_ref not in done:
            done.add(message.run_ref)
            items = _run_items(steps.get(message.run_ref, []), by_run[message.run_ref])
            if items:
                yield Unit(by_run[message.run_ref][-1].position or 0, items)


def _run_units(run_id: str, messages: Sequence[Message]) -> list[Unit]:
    items = _run_items(_steps_of([run_id]).get(run_id, []), messages)
    return [Unit(2**62, items)] if items else []


def _steps_of(run_ids: Sequence[str]) -> dict[str, list[RunStep]]:
    """Return the steps of the runs with their calls, in order; one query, two with calls."""
    steps: dict[str, list[RunStep]] = {}
    if run_ids:
        rows = RunStep.objects.filter(run_id__in=run_ids).order_by("run_id", "index")
        for step in rows.prefetch_related("calls"):
            steps.setdefault(step.run_id, []).append(step)
    return steps


def _run_items(steps: Sequence[RunStep], messages: Sequence[Message]) -> tuple[Item, ...]:
    by_id = {message.pk: message for message in messages}
    items: list[Item] = []
    for step in steps:
        if step.type == "tool_calls":
            items.extend(_call_items(sorted(step.calls.all(), key=lambda call: call.index)))
        elif step.message_id in by_id and step.status != "failed":
            # A failed step was repeated by a later one: its text is not part of the talk.
            items.append(_input_message(by_id[step.message_id]))
    if not steps:
        items.extend(_input_message(message) for message in messages)
    return tuple(items)


def _call_items(calls: Sequence[ToolCall]) -> Iterator[Item]:
    for call in calls:
        yield FunctionCall(call_id=call.pk, name=call.name, arguments=call.arguments or "{}")
    for call in calls:
        output = call.output
        if output is None or call.status == CallStatus.CANCELLED:
            output = UNANSWERED
        yield FunctionOutput(call_id=call.pk, output=output)


def _input_message(message: Message) -> InputMessage:
    parts: list[Part] = [part for raw in message.content for part in _part(raw)]
    role = "assistant" if message.role == "assistant" else "user"
    return InputMessage(role=role, parts=tuple(parts))  # type: ignore[arg-type,unused-ignore]


def _part(raw: dict[str, Any]) -> Iterator[Part]:
    if raw["type"] == "text":
        yield TextPart(text=raw["text"]["value"])
    elif raw["type"] == "refusal":
        yield TextPart(text=raw["refusal"])
    elif raw["type"] == "image_url":
        image = raw["image_url"]
        yield ImagePart(url=image["url"], detail=image.get("detail", "auto"))


def _first_user_unit(run: Run) -> Unit | None:
    first = (
        Message.objects.placed()
        .filter(thread_id=run.thread_id, role="user")
        .order_by("position")
        .first()
    )
    return Unit(first.position or 0, (_input_message(first),)) if first else None
