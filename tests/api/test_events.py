"""The order of a run's events, whatever its entries come from, and resuming at any of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from chat.api.events import EventId, Sequencer, get_remaining_prelude, parse_event_id
from chat.runs.events import Entry, build_text_entry

TEXTS = ("Hé", "l", "lo 🌍", "🏽!")
CALL = {"id": "call_1", "type": "function"} | {
    "function": {"name": "f", "arguments": '{"a": 1}', "output": None}
}
ANSWERED = {**CALL, "function": {**CALL["function"], "output": "yes"}}  # type: ignore[dict-item]
Told = list[tuple[str, str, Any]]


def run(status: str) -> dict[str, Any]:
    base = {"id": "run_1", "object": "thread.run", "thread_id": "thread_1", "started_at": 1}
    return {**base, "status": status, "usage": {} if status == "completed" else None}


def tools(status: str, call: Any) -> dict[str, Any]:
    details = {"type": "tool_calls", "tool_calls": [call]}
    return step("step_0", 0, status, details)


def writing(status: str) -> dict[str, Any]:
    details = {"type": "message_creation", "message_creation": {"message_id": "msg_1"}}
    return step("step_1", 1, status, details)


def step(name: str, index: int, status: str, details: dict[str, Any]) -> dict[str, Any]:
    base = {"id": name, "object": "thread.run.step", "type": details["type"]}
    return {**base, "status": status, "step_details": details, "atrium": {"index": index}}


def message(status: str, text: str) -> dict[str, Any]:
    content = [{"type": "text", "text": {"value": text, "annotations": []}}] if text else []
    base = {"id": "msg_1", "object": "thread.message", "role": "assistant", "status": status}
    return {**base, "content": content}


def entries(*events: tuple[str, dict[str, Any]] | str) -> list[Entry]:
    """Return entries: events by name and object, and pieces of the message's text."""
    return [
        build_text_entry("run_1", state, "msg_1", one)
        if isinstance(one, str)
        else Entry("run_1", state, f"thread.{one[0]}", one[1])
        for state, one in enumerate(events, start=1)
    ]


LIVE = entries(
    ("run.created", run("queued")),
    ("run.queued", run("queued")),
    ("run.in_progress", run("in_progress")),
    ("run.step.created", tools("in_progress", CALL)),
    ("run.step.in_progress", tools("in_progress", CALL)),
    ("run.step.completed", tools("completed", ANSWERED)),
    ("run.step.created", writing("in_progress")),
    ("run.step.in_progress", writing("in_progress")),
    ("message.created", message("in_progress", "")),
    ("message.in_progress", message("in_progress", "")),
    *TEXTS,
    ("message.completed", message("completed", "".join(TEXTS))),
    ("run.step.completed", writing("completed")),
    ("run.completed", run("completed")),
)
STORED = entries(
    ("run.step.completed", tools("completed", ANSWERED)),
    ("message.completed", message("completed", "".join(TEXTS))),
    ("run.step.completed", writing("completed")),
    ("run.completed", run("completed")),
)
# The rows in the middle of the text, then what is live from there on.
MIXED = [
    *entries(
        ("run.step.completed", tools("completed", ANSWERED)),
        ("message.in_progress", message("in_progress", "".join(TEXTS[:2]))),
        ("run.step.in_progress", writing("in_progress")),
        ("run.in_progress", run("in_progress")),
    ),
    *LIVE[12:],
]
SOURCES = {"live": LIVE, "stored": STORED, "mixed": MIXED}
ORDER = [
    "thread.run.created",
    "thread.run.queued",
    "thread.run.in_progress",
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.run.step.delta",
    "thread.run.step.completed",
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.message.created",
    "thread.message.in_progress",
    "thread.message.delta",
    "thread.message.completed",
    "thread.run.step.completed",
    "thread.run.completed",
]


def told(source: Sequence[Entry], *, at: EventId | None = None, one_by_one: bool = True) -> Told:
    """Return id, event and data of everything a stream tells from `at` on."""
    place = at or EventId(-1)
    sequencer = Sequencer(run("queued"), at=place, prelude=get_remaining_prelude(place))
    batches: Iterable[Sequence[Entry]] = [[entry] for entry in source] if one_by_one else [source]
    chunks = [chunk for batch in batches for chunk in sequencer.events(batch)]
    assert sequencer.ended
    return [parsed(chunk.decode()) for chunk in chunks]


def parsed(chunk: str) -> tuple[str, str, Any]:
    fields = dict(line.split(": ", 1) for line in chunk.strip().split("\n"))
    return fields["id"], fields["event"], json.loads(fields["data"])


def in_order(events: Told) -> list[str]:
    names: list[str] = []
    for _id, name, _data in events:
        if not names or name != "thread.message.delta" or names[-1] != name:
            names.append(name)
    return names


def text_of(events: Told) -> str:
    deltas = [data for _id, name, data in events if name == "thread.message.delta"]
    return "".join(part["text"]["value"] for d in deltas for part in d["delta"]["content"])


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("one_by_one", [True, False])
def test_every_source_tells_the_same_run(source: str, one_by_one: bool) -> None:
    events = told(SOURCES[source], one_by_one=one_by_one)
    assert in_order(events) == ORDER
    assert text_of(events) == "".join(TEXTS)


@pytest.mark.parametrize("source", SOURCES)
def test_ids_never_repeat_and_always_grow(source: str) -> None:
    places = [parse_event_id(event_id) for event_id, _name, _data in told(SOURCES[source])]
    assert places == sorted(set(places), key=lambda place: place or EventId(-1))


@pytest.mark.parametrize("first", SOURCES)
@pytest.mark.parametrize("second", SOURCES)
def test_a_stream_resumes_at_any_event_from_any_source(first: str, second: str) -> None:
    whole = told(SOURCES[first])
    for cut in range(len(whole)):
        rest = told(SOURCES[second], at=parse_event_id(whole[cut][0]))
        both = whole[: cut + 1] + rest
        assert in_order(both) == ORDER, cut
        assert text_of(both) == "".join(TEXTS), cut


@pytest.mark.parametrize("source", SOURCES)
def test_a_stream_resumes_at_any_character(source: str) -> None:
    text = "".join(TEXTS)
    for have in range(len(text) + 1):
        rest = told(SOURCES[source], at=EventId(1, 4, 0, have))
        assert text[:have] + text_of(rest) == text


def test_calls_are_told_once_and_without_outputs() -> None:
    [delta] = [data for _id, name, data in told(LIVE) if name == "thread.run.step.delta"]
    assert delta["delta"]["step_details"]["tool_calls"] == [{"index": 0, **CALL}]


def test_an_end_that_was_none_is_not_told_in_a_replay() -> None:
    waited = Entry("run_1", 6, "thread.run.requires_action", run("requires_action"))
    events = told([*LIVE[:5], waited, *LIVE[5:]], one_by_one=False)
    assert in_order(events) == ORDER


def test_a_run_that_waits_ends_the_stream() -> None:
    waits = Entry("run_1", 6, "thread.run.requires_action", run("requires_action"))
    assert in_order(told([*LIVE[:5], waits]))[-1] == "thread.run.requires_action"


def test_other_runs_and_peoples_messages_are_left_out() -> None:
    other = Entry("run_2", 1, "thread.run.completed", {**run("completed"), "id": "run_2"})
    theirs = {**message("completed", "Hi"), "role": "user", "id": "msg_0"}
    mine = Entry("run_1", 1, "thread.message.created", theirs)
    assert in_order(told([other, mine, *LIVE])) == ORDER


@pytest.mark.parametrize("text", ["", "x", "1", "1.2.3", "1.2.3.4.5", "-2.0.0.0", "1.2.3.-4"])
def test_other_texts_are_no_places(text: str) -> None:
    assert parse_event_id(text) is None


def lost_step(name: str, state: int, status: str = "in_progress", text: str = "") -> list[Entry]:
    """Return the entries of a step at index 1 that makes the message of this name."""
    details = {"type": "message_creation", "message_creation": {"message_id": f"msg_{name}"}}
    made = step(f"step_{name}", 1, status, details)
    told = {**message(status, text), "id": f"msg_{name}"}
    if status == "in_progress":
        return [
            Entry("run_1", state, "thread.run.step.created", made),
            Entry("run_1", state, "thread.message.created", told),
        ]
    return [
        Entry("run_1", state, f"thread.message.{status}", told),
        Entry("run_1", state, f"thread.run.step.{status}", made),
    ]


def after(place: EventId, entries: Sequence[Entry]) -> tuple[Told, Sequencer]:
    sequencer = Sequencer({**run("queued"), "assistant_id": "asst_1"}, at=place, prelude=())
    return [parsed(chunk.decode()) for chunk in sequencer.events(entries)], sequencer


SUCCESSOR = [
    *lost_step("2", 1002),
    build_text_entry("run_1", 1004, "msg_2", "Whole"),
    *lost_step("2", 1006, "completed", "Whole"),
    Entry("run_1", 1008, "thread.run.completed", run("completed")),
]
TOLD_ANEW = [
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.message.created",
    "thread.message.in_progress",
    "thread.message.delta",
    "thread.message.completed",
    "thread.run.step.completed",
    "thread.run.completed",
]


@pytest.mark.parametrize(
    ("phase", "ends"),
    [
        (0, ["thread.run.step.failed"]),
        (1, ["thread.run.step.failed"]),
        (2, ["thread.message.incomplete", "thread.run.step.failed"]),
        (4, ["thread.message.incomplete", "thread.run.step.failed"]),
        (5, ["thread.run.step.failed"]),
        (6, []),
    ],
)
def test_a_place_in_a_lost_step_is_left_and_the_next_step_told_whole(
    phase: int, ends: list[str]
) -> None:
    place = EventId(1, phase, 0, 232 if phase == 4 else 0, 7, "lost1")
    events, _sequencer = after(place, SUCCESSOR)
    assert in_order(events) == [*ends, *TOLD_ANEW]
    assert text_of(events) == "Whole"
    for _id, name, data in events[: len(ends)]:
        assert data["id"] == ("msg_lost1" if "message" in name else "step_lost1")
    # From any of these places a stream goes on as if nothing had been lost.
    for cut, (event_id, _name, _data) in enumerate(events):
        found = parse_event_id(event_id)
        assert found is not None
        rest, _sequencer = after(found, SUCCESSOR)
        assert in_order([*events[: cut + 1], *rest]) == [*ends, *TOLD_ANEW], cut
        assert text_of([*events[: cut + 1], *rest]) == "Whole", cut


@pytest.mark.parametrize("status", ["failed", "cancelled", "requires_action"])
def test_a_run_that_stops_ends_the_lost_step(status: str) -> None:
    ended = [Entry("run_1", 1002, f"thread.run.{status}", run(status))]
    events, sequencer = after(EventId(1, 4, 0, 232, 7, "lost1"), ended)
    assert in_order(events)[:2] == ["thread.message.incomplete", "thread.run.step.failed"]
    assert sequencer.ended


def test_what_an_earlier_claim_told_is_not_told_to_who_is_beyond_it() -> None:
    """A log may hold the lost message as well as the one that came for it."""
    earlier = [
        *lost_step("1", 3),
        build_text_entry("run_1", 5, "msg_1", "Hal"),
        *lost_step("1", 1001, "failed"),
    ]
    events, _sequencer = after(EventId(1, 4, 0, 2, 1002, "2"), [*earlier, *SUCCESSOR])
    assert text_of(events) == "ole"
    assert in_order(events) == TOLD_ANEW[4:]
