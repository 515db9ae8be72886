"""Prompt of a model call: select and shorten the part of the thread that is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

from chat.conf import conf
from chat.runs.prompt.history import History, Unit, estimate_tokens
from chat.upstream.base import FunctionOutput, Item

OUTPUT_REMOVED = json.dumps({"note": "No longer shown, to save room. Call the tool again."})
CUT_NOTE = "\n[The rest is not shown, to save room.]"


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """Prompt items in order; `dropped` is True if older messages were left out.

    `new_items` are the items that a conversation stored on the model server does not have yet.
    """

    items: tuple[Item, ...]
    new_items: tuple[Item, ...]
    dropped: bool
    tokens: int


def build_prompt(history: History, *, synced_through: int | None = None) -> Prompt:
    """Return the newest part of the run's thread that fits its token budget.

    `auto` keeps the first user message and the newest messages and drops the
    middle; `last_messages` keeps that many messages. Tool outputs are shortened
    before any message is dropped. Uses keyset pagination, so the cost does not grow
    with the thread. Call within the tenant's scope and a transaction.
    """
    run = history.run
    budget = min(run.max_prompt_tokens or conf.prompt_tokens, conf.prompt_tokens)
    budget -= len(run.instructions.encode()) // 4
    strategy = run.truncation_strategy or {}
    max_messages = (
        strategy.get("last_messages") if strategy.get("type") == "last_messages" else None
    )
    units = history.units()
    kept = _take_newest(units, budget)
    min_units, used, complete = len(kept), sum(unit.tokens for unit in kept), True
    for unit in units:
        fitting = _fit(unit, budget - used)
        if used + fitting.tokens > budget or (
            max_messages is not None and len(kept) >= max_messages
        ):
            complete = False
            break
        kept.append(fitting)
        used += fitting.tokens
    kept.reverse()
    if not complete and max_messages is None:
        first = history.first_user_message
        if first is not None and kept and first.position < kept[0].position:
            while len(kept) > min_units and used + first.tokens > budget:
                used -= kept.pop(0).tokens
            if used + first.tokens <= budget or min_units == 1:
                kept.insert(0, first)
                used += first.tokens
    items = tuple(item for unit in kept for item in unit.items)
    new = items
    if synced_through is not None:
        new = tuple(i for unit in kept if unit.position > synced_through for i in unit.items)
    return Prompt(items=items, new_items=new, dropped=not complete, tokens=used)


def _take_newest(units: Iterator[Unit], budget: int) -> list[Unit]:
    """Return the units that are always in the prompt: the newest message.

    In the middle of a run, these are the run's own unit and the message it answers.
    """
    newest = next(units, None)
    if newest is None:
        return []
    question = next(units, None) if newest.is_answer else None
    if question is None:
        return [_fit(newest, budget, cut_last=True)]
    return [_fit(newest, budget - question.tokens, cut_last=True), question]


def _fit(unit: Unit, room: int, *, cut_last: bool = False) -> Unit:
    """Return the unit in at most `room` tokens, if removing tool outputs is enough.

    The oldest outputs are removed first; with `cut_last` as much of the newest is kept as fits.
    """
    over = unit.tokens - room
    if over <= 0:
        return unit
    places = [i for i, item in enumerate(unit.items) if isinstance(item, FunctionOutput)]
    items = list(unit.items)
    for place in places:
        output = items[place]
        assert isinstance(output, FunctionOutput)
        if over > 0:
            cut = cut_last and place == places[-1]
            limit = estimate_tokens(output) - over if cut else 0
            items[place] = _shorten(output, limit)
            over -= estimate_tokens(output) - estimate_tokens(items[place])
    return replace(unit, items=tuple(items))


def _shorten(output: FunctionOutput, tokens: int) -> FunctionOutput:
    """Cut an output to about `tokens`, or replace it with a note if that is too short."""
    note_tokens = estimate_tokens(replace(output, output=OUTPUT_REMOVED + CUT_NOTE))
    if tokens <= note_tokens:
        small = estimate_tokens(output) <= note_tokens
        return output if small else replace(output, output=OUTPUT_REMOVED)
    kept = output.output.encode()[: (tokens - 6) * 4 - len(CUT_NOTE)].decode("utf-8", "ignore")
    return replace(output, output=kept + CUT_NOTE)
