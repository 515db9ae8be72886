"""A reader that comes back gets the beginning of each text it does not name, and no text twice."""

from __future__ import annotations

from uuid import uuid4

import pytest

from chat.runs.delivery.hub import Hub, LiveRun, Reader
from chat.runs.events import Cursor, Entry, build_text_entry
from chat.runs.state.snapshots import ActiveRunRow
from tests.chat.test_forwarding import KEY, Processes
from tests.chat.test_forwarding import quick as quick
from tests.chat.test_lost import RUN, begin, end, message, run, step, told

pytestmark = pytest.mark.usefixtures("quick")

NAME = "msg_a"
ANEW = [("thread.message.created", NAME), ("thread.message.in_progress", NAME)]


def stored_rows(text: str, status: str = "in_progress") -> list[Entry]:
    """Return an active run by its rows: its numbers are not those that readers were told."""
    data = [
        (f"thread.message.{status}", message(NAME, status, text)),
        ("thread.run.step.in_progress", step(NAME)),
        ("thread.run.in_progress", run("in_progress")),
    ]
    return [Entry(RUN, 0, event, body, approximate=True) for event, body in data]


def read_rows(processes: Processes, text: str) -> None:
    """Have the rows be all that tells of the run."""
    processes.b.link = None
    processes.rows.stored = stored_rows(text)


@pytest.mark.parametrize("state", [0, 8])
async def test_a_message_that_the_cursor_does_not_name_is_begun(state: int) -> None:
    """Its row may have a lower number than the client was told by the process that writes it."""
    processes = Processes()
    read_rows(processes, "Half")
    reader = await processes.read(Cursor(run=RUN, state=state))
    assert told(reader.take()) == [
        *ANEW,
        ("thread.message.delta", "Half"),
        ("thread.run.step.in_progress", "step_a"),
    ]


async def test_a_message_that_the_cursor_names_goes_on() -> None:
    processes = Processes()
    read_rows(processes, "Half")
    reader = await processes.read(Cursor(run=RUN, state=8, offsets={NAME: 2}))
    assert told(reader.take()) == [("thread.message.delta", "lf")]


async def test_rows_before_the_log_tell_what_lacks_of_a_text() -> None:
    """The rows were read, and the copy of the log was not made in time."""
    hub = Hub()
    reader = read_first(hub, Cursor(run=RUN, state=0, offsets={NAME: 2}))
    assert told(reader.take()) == [
        ("thread.message.delta", "lf"),
        ("thread.run.step.in_progress", "step_a"),
        ("thread.run.in_progress", RUN),
    ]
    live = LiveRun(*KEY, RUN, state=0, within=hub)
    live.text(NAME, "Ha")
    live.text(NAME, "lf more")
    assert told(reader.take()) == [("thread.message.delta", " more")]


async def test_a_client_ahead_of_rows_before_the_log_gets_no_character_twice() -> None:
    hub = Hub()
    reader = read_first(hub, Cursor(run=RUN, state=0, offsets={NAME: 6}))
    assert ("thread.message.delta", "") not in told(reader.take())
    live = LiveRun(*KEY, RUN, state=0, within=hub)
    live.text(NAME, "Half more")
    assert told(reader.take()) == [("thread.message.delta", "ore")]


async def test_a_text_told_by_its_rows_begins_without_content() -> None:
    hub = Hub()
    reader = read_first(hub, None)
    entries = reader.take()
    assert told(entries[:3]) == [*ANEW, ("thread.message.delta", "Half")]
    assert [entry.data["content"] for entry in entries[:2]] == [[], []]
    hub.channel(*KEY).append(build_text_entry(RUN, 0, NAME, "Half more"))
    assert told(reader.take()) == [("thread.message.delta", " more")]


def read_first(hub: Hub, cursor: Cursor | None) -> Reader:
    """Return a reader that is placed by the rows alone."""
    reader = hub.subscribe(*KEY)
    reader.seek(stored_rows("Half"), cursor=cursor, run_id=None if cursor else RUN)
    return reader


@pytest.mark.parametrize(
    ("have", "rest"), [(1, [("thread.message.delta", "al")]), (3, []), (9, [])]
)
async def test_text_that_was_not_stored_is_told_to_nobody(
    have: int, rest: list[tuple[str, str]]
) -> None:
    """A process that froze wrote on; the message was ended meanwhile with what was stored."""
    hub = Hub()
    live = LiveRun(*KEY, RUN, state=0, within=hub)
    begin(live, NAME)
    live.text(NAME, "Half")
    live.text(NAME, " more")
    live.publish("thread.message.incomplete", message(NAME, "incomplete", "Hal"))
    reader = hub.subscribe(*KEY)
    reader.seek([], cursor=Cursor(run=RUN, state=4, offsets={NAME: have}))
    assert told(reader.take()) == [*rest, ("thread.message.incomplete", NAME)]


async def test_the_text_of_a_whole_message_is_told_to_its_end() -> None:
    hub = Hub()
    live = LiveRun(*KEY, RUN, state=0, within=hub)
    begin(live, NAME)
    end(live, NAME, "Whole")
    reader = hub.subscribe(*KEY)
    reader.seek(None, cursor=Cursor(run=RUN, state=4, offsets={NAME: 2}))
    assert told(reader.take())[:2] == [
        ("thread.message.delta", "ole"),
        ("thread.message.completed", NAME),
    ]


async def test_a_process_that_lost_the_run_tells_nothing_of_its_own() -> None:
    """It was frozen, and does not know yet that another one took the run over."""
    processes = Processes()
    processes.a.link = None
    begin(processes.live, NAME)
    processes.live.text(NAME, "Half")
    rows = [
        ("thread.message.incomplete", message(NAME, "incomplete", "Hal")),
        ("thread.run.step.failed", step(NAME, "failed")),
        ("thread.run.in_progress", run("in_progress")),
    ]
    processes.rows.stored = [Entry(RUN, 980, event, data, approximate=True) for event, data in rows]
    active = ActiveRunRow(run=RUN, status="in_progress", owner=uuid4(), state=980)
    processes.rows.run = active
    reader = processes.a.hub.subscribe(*KEY)
    await processes.a.fill(reader.channel, active)
    reader.seek(processes.rows.stored, cursor=Cursor(run=RUN, state=1001, offsets={NAME: 3}))
    closed = [("thread.message.incomplete", NAME), ("thread.run.step.failed", "step_a")]
    assert told(reader.take()) == closed
    processes.live.text(NAME, " more")
    assert reader.take() == []


async def test_rows_of_before_the_claim_end_no_writer() -> None:
    processes = Processes()
    writer = LiveRun(*KEY, RUN, state=1000, within=processes.a.hub)
    active = ActiveRunRow(run=RUN, status="in_progress", owner=uuid4(), state=980)
    await processes.a.fill(writer.channel, active)
    assert writer.channel.writer is writer
