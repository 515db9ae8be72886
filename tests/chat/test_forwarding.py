"""Forwarding between processes over a layer that loses messages: each character arrives once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import msgpack  # type: ignore[import-untyped]  # it comes with channels-redis
import pytest
from asgiref.sync import async_to_sync
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat.runs.delivery import hub, replica, replication
from chat.runs.delivery.hub import Hub, Key, LiveRun, Reader
from chat.runs.delivery.replication import Replication
from chat.runs.events import Cursor, Entry, get_text
from chat.runs.state.snapshots import ActiveRunRow
from tests.clock import WAIT_SECONDS, until

pytestmark = pytest.mark.usefixtures("quick")

KEY: Key = (uuid4(), "thread_1")
RUN = {"id": "run_1", "object": "thread.run"}


@dataclass
class Air:
    """What is sent between the processes; `lost` says which messages, by their number, are not."""

    lost: Callable[[int], bool] = lambda number: False
    sent: list[dict[str, Any]] = field(default_factory=list)
    near: dict[UUID, Replication] = field(default_factory=dict)

    def carry(self, message: dict[str, Any], to: Sequence[UUID]) -> None:
        self.sent.append(message)
        if not self.lost(len(self.sent) - 1):
            for process in to:
                self.near[process].receive(msgpack.unpackb(msgpack.packb(message)))


@dataclass
class AirLink:
    """One process's way into the air."""

    air: Air
    process: UUID
    up: bool = True

    def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def join(self, key: Key) -> None: ...

    def leave(self, key: Key) -> None: ...

    def send(self, process: UUID, message: dict[str, Any]) -> None:
        self.air.carry({**message, "from": str(self.process)}, [process])

    def publish(self, key: Key, message: dict[str, Any]) -> None:
        others = [process for process in self.air.near if process != self.process]
        self.air.carry({**message, "from": str(self.process)}, others)


@dataclass
class MemoryRows:
    """The rows of one run, as the test says they are."""

    run: ActiveRunRow | None = None
    stored: list[Entry] = field(default_factory=list)

    async def get_active_run(self, key: Key) -> ActiveRunRow | None:
        return self.run

    async def list_events(self, key: Key, run: str) -> Sequence[Entry]:
        return list(self.stored)


class Processes:
    """A and B; A executes the run, B has the reader."""

    def __init__(self, lost: Callable[[int], bool] = lambda number: False) -> None:
        self.air = Air(lost=lost)
        self.rows = MemoryRows()
        self.a, self.b = (self.process() for _one in range(2))
        self.a_id = next(iter(self.air.near))
        self.live = LiveRun(*KEY, "run_1", state=0, within=self.a.hub)
        self.rows.run = ActiveRunRow(run="run_1", status="in_progress", owner=self.a_id)
        self.said: dict[str, str] = {}

    def process(self) -> Replication:
        made, process = Replication(Hub(), rows=self.rows), uuid4()
        self.air.near[process] = made
        made.start(process, link=AirLink(self.air, process))
        return made

    async def read(self, cursor: Cursor | None = None) -> Reader:
        reader = self.b.hub.subscribe(*KEY)
        await self.b.fill(reader.channel, self.rows.run)
        reader.seek(self.rows.stored, cursor=cursor)
        return reader

    def say(self, text: str, *, item: str = "msg_1") -> None:
        self.live.text(item, text)
        self.said[item] = self.said.get(item, "") + text

    def store(self, status: str = "in_progress") -> None:
        """Have the rows tell what was said until now."""
        self.rows.stored = [message(item, text, status) for item, text in self.said.items()]

    def end(self) -> None:
        self.live.publish("thread.run.completed", RUN)
        self.store("completed")
        self.rows.stored.append(Entry("run_1", 9999, "thread.run.completed", RUN))
        self.rows.run = None
        self.live.end()


def message(item: str, text: str, status: str) -> Entry:
    content = [{"type": "text", "text": {"value": text, "annotations": []}}]
    data = {"id": item, "object": "thread.message", "content": content, "status": status}
    return Entry("run_1", 0, f"thread.message.{status}", data)


@dataclass
class Client:
    """What somebody sees who applies entries as the page does."""

    texts: dict[str, str] = field(default_factory=dict)

    async def read_to_the_end(self, reader: Reader, said: dict[str, str]) -> None:
        """Apply what comes; at every moment a text is the beginning of what is said."""
        ended = False
        while not ended:
            for entry in await asyncio.wait_for(reader.entries(), WAIT_SECONDS):
                self.apply(entry)
                ended = ended or entry.event == "thread.run.completed"
                assert all(said[item].startswith(text) for item, text in self.texts.items())
        reader.close()
        assert self.texts == said

    def apply(self, entry: Entry) -> None:
        if entry.text is not None:
            self.texts[entry.item] = self.texts.get(entry.item, "") + entry.text
        elif entry.event in ("thread.message.completed", "thread.message.in_progress"):
            known = self.texts.get(entry.data["id"], "")
            told = get_text(entry.data)
            whole = entry.data["status"] == "completed" or len(told) > len(known)
            self.texts[entry.data["id"]] = told if whole else known


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits: nothing depends on their length."""
    monkeypatch.setattr(replication, "SPACING_SECONDS", 0.001)
    monkeypatch.setattr(replica, "ASK_SECONDS", 0.01)
    monkeypatch.setattr(replica, "LOOK_SECONDS", 0.005)


async def test_what_was_said_before_and_after_is_forwarded() -> None:
    both = Processes()
    both.say("Hel")
    reader = await both.read()
    both.say("lo")
    both.end()
    await Client().read_to_the_end(reader, both.said)


async def test_two_readers_in_a_process_share_one_forward() -> None:
    both = Processes()
    readers = [await both.read(), await both.read()]
    assert len(both.a.forwards) == 1
    both.say("Hello")
    both.end()
    for reader in readers:
        await Client().read_to_the_end(reader, both.said)


async def test_forwarding_ends_when_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "LEASE_SECONDS", 0.05)
    monkeypatch.setattr(hub, "LINGER_SECONDS", 0)
    both = Processes()
    reader = await both.read()
    reader.close()
    assert both.a.forwards
    await until(lambda: not (both.a.forwards or both.b.replicas or both.b.hub.channels))


async def test_a_client_ahead_of_the_rows_gets_no_character_twice() -> None:
    both = Processes()
    both.say("Hello")
    both.store()
    both.say(", wörld😀!")
    cut_off = both.b.link
    assert cut_off is not None
    cut_off.up = False
    reader = await both.read(Cursor("run_1", 0, {"msg_1": 8}))
    cut_off.up = True
    client = Client({"msg_1": "Hello, w"})
    for entry in await reader.entries():
        client.apply(entry)
    assert client.texts == both.said
    both.end()
    await client.read_to_the_end(reader, both.said)


async def test_without_a_layer_the_rows_tell() -> None:
    both = Processes()
    both.b.link = None
    both.say("Hel")
    both.store()
    reader, client = await both.read(), Client()
    for entry in await reader.entries():
        client.apply(entry)
    assert client.texts == {"msg_1": "Hel"}
    both.say("lo")
    both.store()
    both.end()
    await client.read_to_the_end(reader, both.said)


async def test_a_message_for_a_thread_nobody_reads_here_is_dropped() -> None:
    both = Processes()
    both.a.announce_event(KEY, "atrium.message.queued", {"id": "msg_1"})
    assert both.b.hub.channels == {}


async def test_what_is_forwarded_unasked_reaches_nobody() -> None:
    both = Processes()
    both.rows.run = None
    reader = await both.read()
    forged = {"kind": "entries", "tenant": str(KEY[0]), "thread": KEY[1], "forward": "guess"}
    body = {"number": 0, "since": {"run_1": 0}, "entries": [["run_1", 1, "x", {}, "", None]]}
    assert both.b.link is not None and both.a.link is not None
    both.a.link.send(next(reversed(both.air.near)), {**forged, **body})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.entries(), 0.05)
    reader.close()


async def test_the_new_owner_of_a_run_is_followed() -> None:
    both = Processes()
    both.say("Hel")
    reader = await both.read()
    both.live.end()
    third = both.process()
    both.live = LiveRun(*KEY, "run_1", state=1000, within=third.hub)
    both.rows.run = ActiveRunRow(run="run_1", status="in_progress", owner=list(both.air.near)[2])
    both.say("Hello", item="msg_2")
    both.end()
    await Client().read_to_the_end(reader, both.said)


async def test_a_run_taken_over_here_goes_on_for_its_readers() -> None:
    both = Processes()
    both.say("Hel")
    reader = await both.read()
    both.live = LiveRun(*KEY, "run_1", state=1000, within=both.b.hub)
    both.say("lo", item="msg_2")
    both.end()
    await Client().read_to_the_end(reader, both.said)


PIECES = st.lists(st.text(alphabet="ab😀ö", min_size=1, max_size=4), max_size=8)


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(before=PIECES, after=PIECES, lost=st.sets(st.integers(0, 30)), share=st.floats(0, 1))
def test_whatever_is_lost_each_character_arrives_once(
    before: list[str], after: list[str], lost: set[int], share: float
) -> None:
    async def played() -> None:
        both = Processes(lost=lambda number: number in lost)
        for text in before:
            both.say(text)
        said = both.said.get("msg_1", "")
        have = said[: round(share * len(said))]
        reader = await both.read(Cursor("run_1", 0, {"msg_1": len(have)}))
        for text in after:
            both.say(text)
            both.store()
            await asyncio.sleep(0.001)
        both.end()
        await Client({"msg_1": have} if have else {}).read_to_the_end(reader, both.said)

    async_to_sync(played)()
