"""The prompt of a model round: which part of the thread goes to the model, in which form."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from django.db.models import Exists, OuterRef

from chat.conf import conf
from chat.models import Message, Run, ToolCall
from chat.models.runs import CallStatus
from chat.runs import pictures
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
# A picture counts as this many bytes of text.
PICTURE = 3_400
NO_LONGER_SHOWN = json.dumps({"note": "No longer shown, to save room. Call the tool again."})
CUT = "\n[The rest is not shown, to save room.]"
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

    @cached_property
    def tokens(self) -> int:
        """The estimate of its tokens."""
        return sum(estimate_tokens(item) for item in self.items)

    @property
    def is_answer(self) -> bool:
        """True for what a run said and called."""
        first = self.items[0]
        return not isinstance(first, InputMessage) or first.role == "assistant"

    def within(self, room: int, *, cut_last: bool = False) -> Unit:
        """Return it in at most `room` tokens, if that can be had by leaving outputs out.

        The oldest go first; with `cut_last` as much of the newest is kept as fits.
        """
        over = self.tokens - room
        if over <= 0:
            return self
        places = [i for i, item in enumerate(self.items) if isinstance(item, FunctionOutput)]
        items = list(self.items)
        for place in places:
            output = items[place]
            assert isinstance(output, FunctionOutput)
            if over > 0:
                cut = cut_last and place == places[-1]
                most = estimate_tokens(output) - over if cut else 0
                items[place] = _shortened(output, most)
                over -= estimate_tokens(output) - estimate_tokens(items[place])
        return replace(self, items=tuple(items))


def estimate_tokens(item: Item) -> int:
    """Estimate the tokens of an item: four bytes each and a little for its frame.

    Only for budgets; what is billed is what the server counts.
    """
    if isinstance(item, InputMessage):
        size = sum(
            len(part.text.encode()) if isinstance(part, TextPart) else PICTURE
            for part in item.parts
        )
    elif isinstance(item, FunctionCall):
        size = len(item.arguments.encode()) + len(item.name)
    else:
        size = len(item.output.encode())
    return size // 4 + 6


def build_prompt(run: Run, *, synced_through: int | None = None) -> Prompt:
    """Read the newest messages of the run's thread that fit its budget.

    `auto` keeps the first user message and the newest ones and drops from the
    middle; `last_messages` keeps that many. Outputs of tools make room before
    anything that was said. Reads by keyset, so the cost does not grow with the
    thread. Must run in the tenant's scope and a transaction.
    """
    budget = min(run.max_prompt_tokens or conf.prompt_tokens, conf.prompt_tokens)
    budget -= len(run.instructions.encode()) // 4
    strategy = run.truncation_strategy or {}
    most = strategy.get("last_messages") if strategy.get("type") == "last_messages" else None
    units = newest_units(run)
    kept = _newest(units, budget)
    least, used, complete = len(kept), sum(unit.tokens for unit in kept), True
    for unit in units:
        fitting = unit.within(budget - used)
        if used + fitting.tokens > budget or (most is not None and len(kept) >= most):
            complete = False
            break
        kept.append(fitting)
        used += fitting.tokens
    kept.reverse()
    if not complete and most is None:
        first = _first_user_unit(run)
        if first is not None and kept and first.position < kept[0].position:
            while len(kept) > least and used + first.tokens > budget:
                used -= kept.pop(0).tokens
            if used + first.tokens <= budget or least == 1:
                kept.insert(0, first)
                used += first.tokens
    items = tuple(item for unit in kept for item in unit.items)
    new = items
    if synced_through is not None:
        new = tuple(i for unit in kept if unit.position > synced_through for i in unit.items)
    return Prompt(items=items, new_items=new, dropped=not complete, tokens=used)


def _newest(units: Iterator[Unit], budget: int) -> list[Unit]:
    """Return what is always in the prompt: the newest message.

    In the middle of a run that is what the run did, and the message it answers.
    """
    newest = next(units, None)
    if newest is None:
        return []
    asked = next(units, None) if newest.is_answer else None
    if asked is None:
        return [newest.within(budget, cut_last=True)]
    return [newest.within(budget - asked.tokens, cut_last=True), asked]


def _shortened(output: FunctionOutput, tokens: int) -> FunctionOutput:
    """Return an output in about `tokens`; a note in its place where they are too few."""
    least = estimate_tokens(replace(output, output=NO_LONGER_SHOWN + CUT))
    if tokens <= least:
        small = estimate_tokens(output) <= least
        return output if small else replace(output, output=NO_LONGER_SHOWN)
    kept = output.output.encode()[: (tokens - 6) * 4 - len(CUT)].decode("utf-8", "ignore")
    return replace(output, output=kept + CUT)


def newest_units(run: Run) -> Iterator[Unit]:
    """Yield the thread's units from the newest back, the run's own tool rounds first."""
    rows = (
        Message.objects.placed()
        .filter(thread_id=run.thread_id)
        .order_by("-position")
        .defer("metadata", "attachments")
        .annotate(has_calls=Exists(ToolCall.objects.filter(run_id=OuterRef("run_ref"))))
    )
    seen: set[str] = set()
    below: int | None = None
    while True:
        chunk = list((rows if below is None else rows.filter(position__lt=below))[:CHUNK])
        own = run.pk if below is None and run.rounds else None
        yield from reversed(list(_units(chunk, own=own, seen=seen)))
        if len(chunk) < CHUNK:
            return
        below = chunk[-1].position


def _units(newest_first: Sequence[Message], *, own: str | None, seen: set[str]) -> Iterator[Unit]:
    """Yield units from old to new: user messages, and runs with what they said and called.

    `own` is the run under way, which may have called tools without a word;
    `seen` holds the runs that newer chunks told of whole.
    """
    by_run: dict[str, list[Message]] = {} if own is None else {own: []}
    for message in reversed(newest_first):
        if message.run_ref and message.run_ref not in seen:
            by_run.setdefault(message.run_ref, []).append(message)
    # Most runs call nothing, and theirs need not be looked for.
    called = {m.run_ref for m in newest_first if m.has_calls}  # type: ignore[attr-defined]
    calls = _calls_of([run_id for run_id in by_run if run_id in called or run_id == own])
    told: set[str] = set()
    for message in reversed(newest_first):
        reference = message.run_ref
        if not reference:
            yield Unit(message.position or 0, (_input_message(message),))
        elif reference in by_run and reference not in told:
            told.add(reference)
            yield from _run_unit(by_run[reference], calls.get(reference, []))
    if own is not None and own not in told:
        yield from _run_unit([], calls.get(own, []))
    seen.update(by_run)


def _calls_of(run_ids: Sequence[str]) -> dict[str, list[ToolCall]]:
    """Return the tool calls of the runs, in order."""
    calls: dict[str, list[ToolCall]] = {}
    if run_ids:
        rows = ToolCall.objects.filter(run_id__in=run_ids).defer("bound", "details")
        for call in rows.order_by("round", "index"):
            calls.setdefault(call.run_id, []).append(call)
    return calls


def _run_unit(messages: Sequence[Message], calls: Sequence[ToolCall]) -> Iterator[Unit]:
    """Yield the unit of a run: each round's text, then its calls and their outputs."""
    rounds: dict[int, list[ToolCall]] = {}
    for call in calls:
        rounds.setdefault(call.round, []).append(call)
    # A step that broke off was repeated by a later one: its text is not part of the talk.
    said = [m for m in messages if m.incomplete_reason != "run_failed"]
    moments: list[tuple[Any, int, tuple[Item, ...]]] = [
        (message.created_at, 0, (_input_message(message),)) for message in said
    ]
    moments += [(group[0].created_at, 1, tuple(_call_items(group))) for group in rounds.values()]
    moments.sort(key=lambda moment: moment[:2])
    items = tuple(item for moment in moments for item in moment[2])
    if items:
        last = messages[-1].position if messages else None
        yield Unit(2**62 if last is None else last, items)


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
    elif raw["type"] == "image_file":
        image = raw["image_file"]
        yield pictures.named(image["file_id"], image.get("detail", "auto"))


def _first_user_unit(run: Run) -> Unit | None:
    first = (
        Message.objects.placed()
        .filter(thread_id=run.thread_id, role="user")
        .order_by("position")
        .first()
    )
    return Unit(first.position or 0, (_input_message(first),)) if first else None
