"""A message that readers saw and that its process lost before it was stored."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from chat.runs.delivery.hub import Hub, LiveRun, Reader
from chat.runs.delivery.replication import Replication
from chat.runs.events import Cursor, Entry
from chat.runs.state.snapshots import ActiveRunRow
from tests.chat.test_forwarding import KEY, Processes
from tests.chat.test_forwarding import quick as quick
from tests.clock import WAIT_SECONDS

pytestmark = pytest.mark.usefixtures("quick")

RUN = "run_1"
LOST, NEXT = "msg_lost", "msg_next"
TAKEN_OVER = 1000


def step(message: str, status: str = "in_progress", *, index: int = 0) -> dict[str, Any]:
    return {
        "id": f"step_{message.removeprefix('msg_')}",
        "object": "thread.run.step",
        "type": "message_creation",
        "status": status,
        "step_details": {
            "type": "message_creation",
            "message_creation": {"message_id": message},
        },
        "atrium": {"index": index},
    }


def message(name: str, status: str = "in_progress", text: str = "") -> dict[str, Any]:
    content = [{"type": "text", "text": {"value": text, "annotations": []}}] if text else []
    base = {"id": name, "object": "thread.message", "role": "assistant", "status": status}
    return {**base, "thread_id": KEY[1], "assistant_id": "asst_1", "content": content}


def run(status: str) -> dict[str, Any]:
    return {"id": RUN, "object": "thread.run", "status": status}


def begin(live: LiveRun, name: str) -> None:
    for status in ("created", "in_progress"):
        live.publish(f"thread.run.step.{status}", step(name))
    for status in ("created", "in_progress"):
        live.publish(f"thread.message.{status}", message(name))


def end(live: LiveRun, name: str, text: str) -> None:
    live.text(name, text)
    live.publish("thread.message.completed", message(name, "completed", text))
    live.publish("thread.run.step.completed", step(name, "completed"))
    live.publish("thread.run.completed", run("completed"))


def told(entries: list[Entry]) -> list[tuple[str, str]]:
    """Return event and item of what was told, pieces of text with their text."""
    return [
        (entry.event, entry.text if entry.text is not None else entry.data["id"])
        for entry in entries
    ]


ENDS = [("thread.message.incomplete", LOST), ("thread.run.step.failed", "step_lost")]
BEGUN = [
    ("thread.run.step.created", "step_next"),
    ("thread.run.step.in_progress", "step_next"),
    ("thread.message.created", NEXT),
    ("thread.message.in_progress", NEXT),
]
SEEN = Cursor(run=RUN, state=4, offsets={LOST: 3})


def reader_of(hub: Hub, *, stored: list[Entry], cursor: Cursor = SEEN) -> Reader:
    reader = hub.subscribe(*KEY)
    reader.seek(stored, cursor=cursor)
    return reader


async def test_a_reader_that_comes_back_is_told_of_the_loss() -> None:
    hub = Hub()
    live = LiveRun(*KEY, RUN, state=TAKEN_OVER, within=hub)
    reader = reader_of(hub, stored=[Entry(RUN, 990, "thread.run.in_progress", run("in_progress"))])
    assert told(reader.take()) == [("thread.run.in_progress", RUN)]
    begin(live, NEXT)
    live.text(NEXT, "Whole")
    assert told(reader.take()) == [*ENDS, *BEGUN, ("thread.message.delta", "Whole")]
    live.text(NEXT, " text")
    assert told(await reader.entries()) == [("thread.message.delta", " text")]


async def test_a_reader_that_comes_back_late_is_told_of_the_loss_first() -> None:
    hub = Hub()
    live = LiveRun(*KEY, RUN, state=TAKEN_OVER, within=hub)
    begin(live, NEXT)
    live.text(NEXT, "Whole")
    reader = reader_of(hub, stored=[])
    entries = reader.take()
    assert told(entries) == [*ENDS, *BEGUN, ("thread.message.delta", "Whole")]
    # A client that leaves again has its own place, not that of what it has not read.
    assert [entry.state for entry in entries[:2]] == [SEEN.state, SEEN.state]
    lost = entries[0].data
    assert (lost["content"], lost["atrium"]["lost"]) == ([], True)
    assert lost["incomplete_details"] == {"reason": "run_failed"}


@pytest.mark.parametrize("status", ["failed", "cancelled", "expired", "requires_action"])
async def test_the_end_of_a_run_shows_the_loss(status: str) -> None:
    stored = [Entry(RUN, TAKEN_OVER, f"thread.run.{status}", run(status))]
    reader = reader_of(Hub(), stored=stored)
    assert told(reader.take()) == [*ENDS, (f"thread.run.{status}", RUN)]


async def test_a_message_that_is_stored_is_not_lost() -> None:
    stored = [
        Entry(RUN, 1990, "thread.message.incomplete", message(LOST, "incomplete", "Half")),
        Entry(RUN, 1990, "thread.run.step.failed", step(LOST, "failed")),
        Entry(RUN, 1990, "thread.run.failed", run("failed")),
    ]
    reader = reader_of(Hub(), stored=stored)
    assert told(reader.take()) == [*ENDS, ("thread.run.failed", RUN)]


async def test_a_message_that_goes_on_is_not_lost() -> None:
    hub = Hub()
    live = LiveRun(*KEY, RUN, state=0, within=hub)
    begin(live, LOST)
    live.text(LOST, "Half")
    reader = reader_of(hub, stored=[])
    live.text(LOST, " more")
    assert told(reader.take()) == [("thread.message.delta", "f more")]


async def test_what_the_rows_say_is_closed_is_told_whatever_the_number() -> None:
    """The numbers of an active run's rows are not those that its events were told with."""
    processes = Processes()
    processes.rows.run = ActiveRunRow(run=RUN, status="in_progress", owner=None)
    processes.rows.stored = [
        Entry(
            RUN,
            0,
            "thread.message.incomplete",
            message(LOST, "incomplete", "Half"),
            approximate=True,
        ),
        Entry(RUN, 0, "thread.run.step.failed", step(LOST, "failed"), approximate=True),
        Entry(RUN, 0, "thread.run.in_progress", run("in_progress"), approximate=True),
    ]
    reader = await processes.read(SEEN)
    assert told(reader.take()) == ENDS


async def test_a_successor_ends_what_its_readers_saw_elsewhere() -> None:
    """The readers of a process that takes over what another one executed."""
    hub = Hub()
    first = LiveRun(*KEY, RUN, state=0, within=hub)
    reader = hub.subscribe(*KEY)
    begin(first, LOST)
    first.text(LOST, "Hal")
    first.end()
    reader.take()
    second = LiveRun(*KEY, RUN, state=TAKEN_OVER, within=hub)
    second.end_lost()
    begin(second, NEXT)
    entries = reader.take()
    assert told(entries) == [*ENDS, *BEGUN]
    assert [entry.state for entry in entries] == list(range(TAKEN_OVER + 1, TAKEN_OVER + 7))
    assert entries[1].data["atrium"]["index"] == 0


async def test_readers_of_a_third_process_are_told_by_the_successor() -> None:
    processes = Processes()
    processes.rows.stored = [Entry(RUN, 0, "thread.run.in_progress", run("in_progress"))]
    reader = await processes.read()
    begin(processes.live, LOST)
    processes.live.text(LOST, "Hal")
    seen = await until(reader, lambda entry: entry.text == "Hal")
    die(processes, processes.a_id)
    successor = processes.process()
    live = LiveRun(*KEY, RUN, state=TAKEN_OVER, within=successor.hub)
    owner = next(name for name, process in processes.air.near.items() if process is successor)
    processes.rows.run = ActiveRunRow(run=RUN, status="in_progress", owner=owner)
    begin(live, NEXT)
    end(live, NEXT, "Whole")
    seen += await until(reader, lambda entry: entry.event == "thread.run.completed")
    events = told(seen)
    assert events.index(ENDS[0]) < events.index(BEGUN[0])
    assert events.count(ENDS[0]) == 1


async def test_rows_alone_show_the_loss() -> None:
    """The process that takes over cannot be reached: its first copy of the next text tells."""
    processes = Processes()
    reader = await processes.read()
    begin(processes.live, LOST)
    processes.live.text(LOST, "Hal")
    seen = await until(reader, lambda entry: entry.text == "Hal")
    die(processes, processes.a_id)
    unheard = uuid4()
    die(processes, unheard)
    processes.rows.run = ActiveRunRow(run=RUN, status="in_progress", owner=unheard)
    processes.rows.stored = [
        Entry(RUN, 990, "thread.message.in_progress", message(NEXT, text="Who"), approximate=True),
        Entry(RUN, 990, "thread.run.step.in_progress", step(NEXT), approximate=True),
        Entry(RUN, 990, "thread.run.in_progress", run("in_progress"), approximate=True),
    ]
    seen += await until(reader, lambda entry: entry.text == "Who")
    events = told(seen)
    assert events.index(ENDS[0]) < events.index(("thread.message.created", NEXT))


def die(processes: Processes, process: UUID) -> None:
    """Have a process that hears and says nothing in the place of this one."""
    processes.air.near[process] = Replication(Hub(), rows=processes.rows)


async def until(reader: Reader, wanted: Any) -> list[Entry]:
    """Return what the reader is told, up to the first entry for which `wanted` is true."""
    found: list[Entry] = []
    async with asyncio.timeout(WAIT_SECONDS):
        while not any(wanted(entry) for entry in found):
            found += await reader.entries()
    return found
