"""Live delivery within a process: one log per thread, read by each reader at its own pace.

A reader holds a place in the log, not a queue. One that keeps up gets each
entry as it was made, encoded once for all; one that is slower gets what has
gathered since, merged into wider ones. Everything here runs on the event
loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from uuid import UUID

import orjson

from chat import wire
from chat.runs.lifecycle import TERMINAL

Key = tuple[UUID, str]

ENDS = frozenset(f"thread.run.{status}" for status in TERMINAL)
# How long the log of a run that ended is kept for a reader on its way.
LINGER_SECONDS = 5.0
# Entries that gather before what everybody has read is joined.
COMPACT_AFTER = 64


@dataclass(slots=True)
class Entry:
    """One event, or one piece of a growing text (then `text` is not None).

    `state` is the run's state number when it was made.
    """

    run: str
    state: int
    event: str
    data: dict[str, Any]
    item: str = ""
    text: str | None = None
    # The API's encoding of a piece of text, kept by chat.api.events.
    sse: bytes | None = None
    _frame: str | None = None

    def frame(self, thread: str) -> str:
        """Return the encoded frame, made once."""
        if self._frame is None:
            self._frame = encode(self, thread)
        return self._frame


def encode(entry: Entry, thread: str) -> str:
    """Return the text frame of docs/websocket.md."""
    body = {
        "type": "event",
        "thread": thread,
        "run": entry.run or None,
        "state": entry.state,
        "event": entry.event,
        "data": entry.data,
    }
    return orjson.dumps(body).decode()


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a client has: a run's state number, and code points of each item's text."""

    run: str
    state: int
    offsets: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Told:
    """A run in a channel's log: the state number it began at here, and when it ended here."""

    since: int
    ended: float | None = None

    @property
    def kept(self) -> bool:
        """Tell whether a reader may still ask for it."""
        return self.ended is None or monotonic() - self.ended < LINGER_SECONDS


class Channel:
    """The log of one thread in this process."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.log: list[Entry] = []
        self.base = 0  # sequence number of log[0]
        self.readers: set[Reader] = set()
        self.runs: dict[str, Told] = {}
        self.writer: LiveRun | None = None
        self._compact_at = COMPACT_AFTER

    @property
    def active_run(self) -> str | None:
        """The id of the run that this process executes on the thread."""
        return self.writer.run_id if self.writer else None

    @property
    def end(self) -> int:
        """The sequence number of the next entry."""
        return self.base + len(self.log)

    def append(self, entry: Entry) -> None:
        """Add an entry and wake the readers."""
        self.log.append(entry)
        for reader in self.readers:
            reader.wake.set()
        if len(self.log) >= self._compact_at:
            self._compact()

    def since(self, sequence: int) -> Sequence[Entry]:
        """Return the entries from `sequence` on."""
        return self.log[sequence - self.base :]

    def _read_by_all(self) -> int:
        return min((reader.position for reader in self.readers), default=self.end) - self.base

    def _compact(self) -> None:
        """Join what every reader has: a long answer is not kept in a thousand pieces."""
        count = self._read_by_all()
        joined = list(merged(self.log[:count]))
        self.log[:count] = joined
        self.base += count - len(joined)
        self._compact_at = len(self.log) + COMPACT_AFTER

    def trim(self) -> None:
        """Forget what every reader has and no resume can ask for, and an idle channel."""
        for run_id in [run_id for run_id, told in self.runs.items() if not told.kept]:
            del self.runs[run_id]
        count = self._read_by_all()
        for index, entry in enumerate(self.log[:count]):
            if entry.run in self.runs:
                count = index
                break
        del self.log[:count]
        self.base += count
        hub.drop_if_idle(self)


class Reader:
    """One reader of a channel: `entries` until it is closed."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.position = channel.end
        self.wake = asyncio.Event()
        self._first: list[Entry] = []

    def place(
        self, stored: Sequence[Entry], *, cursor: Cursor | None = None, run_id: str | None = None
    ) -> None:
        """Begin with what a client at `cursor` lacks of that run, or all of the run `run_id`.

        Whatever is active is told from its beginning where the cursor does not
        name it. `stored` are the events of these runs by their rows, read after
        this reader was made: they tell what the log here does not.
        """
        log, runs = self.channel.log, self.channel.runs
        by_rows = {entry.run: entry.event for entry in stored}
        wanted = {
            run: cursor if cursor and cursor.run == run else Cursor(run=run, state=-1)
            for run in {*by_rows, self.channel.active_run, run_id}
            if run in runs and self._is_told(run, by_rows.get(run))
        }
        told = {entry.data.get("id") for entry in log}
        missing = [
            entry
            for entry in stored
            # The beginning of a run may have been told elsewhere, or before it waited.
            if entry.run not in wanted
            or (wanted[entry.run].state < runs[entry.run].since and entry.data["id"] not in told)
        ]
        self._first = [*missing, *self._lacking(wanted)]
        self.position = self.channel.end
        if self._first:
            self.wake.set()

    def _is_told(self, run: str, by_rows: str | None) -> bool:
        """Tell whether the log here is as new as the rows, whose last event is `by_rows`."""
        if run == self.channel.active_run:
            return True
        last = next(
            (
                entry.event
                for entry in reversed(self.channel.log)
                if entry.run == run and entry.data.get("object") == "thread.run"
            ),
            None,
        )
        return last in (by_rows, *ENDS)

    def _lacking(self, wanted: Mapping[str, Cursor]) -> Iterator[Entry]:
        """Yield what is lacking of `wanted`, and of the rest the events since this reader came."""
        new = self.position - self.channel.base
        rest = {run: Rest(cursor) for run, cursor in wanted.items()}
        for index, entry in enumerate(self.channel.log):
            if entry.run in rest:
                yield from rest[entry.run].of(entry)
            elif index >= new and entry.text is None:
                yield entry

    async def entries(self) -> list[Entry]:
        """Wait for something new and return it in order, text pieces merged where it gathered."""
        while True:
            await self.wake.wait()
            self.wake.clear()
            new = self.channel.since(self.position)
            self.position = self.channel.end
            if len(new) == 1 and not self._first:
                return [new[0]]
            found = list(merged([*self._first, *new]))
            self._first = []
            if found:
                return found

    def close(self) -> None:
        """Stop reading."""
        self.channel.readers.discard(self)
        hub.drop_if_idle(self.channel)


def merged(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Join neighbouring pieces of the same text into one entry."""
    run: list[Entry] = []
    for entry in entries:
        if run and (entry.text is None or entry.item != run[-1].item):
            yield _joined(run)
            run = []
        if entry.text is None:
            yield entry
        else:
            run.append(entry)
    if run:
        yield _joined(run)


def _joined(pieces: Sequence[Entry]) -> Entry:
    if len(pieces) == 1:
        return pieces[0]
    return text_entry(
        pieces[0].run, pieces[-1].state, pieces[0].item, "".join(p.text or "" for p in pieces)
    )


def text_entry(run: str, state: int, message_id: str, text: str) -> Entry:
    """Return a `thread.message.delta` of `text`."""
    data = wire.message_delta(message_id, text)
    return Entry(run, state, "thread.message.delta", data, item=message_id, text=text)


class Rest:
    """What a client at `cursor` lacks of its run; the run's entries are given in order."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self._seen: dict[str, int] = {}

    def of(self, entry: Entry) -> Iterator[Entry]:
        """Yield a later event, a text that begins later, or the rest of one that ends later."""
        if entry.text is None:
            if entry.state > self.cursor.state:
                yield entry
            return
        start = self._seen.get(entry.item, 0)
        end = self._seen[entry.item] = start + len(entry.text)
        have = self.cursor.offsets.get(entry.item, 0)
        if have <= start:
            yield entry
        elif have < end:
            yield text_entry(entry.run, entry.state, entry.item, entry.text[have - start :])


class Hub:
    """The channels of this process."""

    def __init__(self) -> None:
        self.channels: dict[Key, Channel] = {}

    def channel(self, tenant_id: UUID, thread_id: str) -> Channel:
        """Return the thread's channel, made on first use."""
        key = (tenant_id, thread_id)
        if key not in self.channels:
            self.channels[key] = Channel(key)
        return self.channels[key]

    def subscribe(self, tenant_id: UUID, thread_id: str) -> Reader:
        """Return a new reader; the caller has checked its right to the thread."""
        channel = self.channel(tenant_id, thread_id)
        reader = Reader(channel)
        channel.readers.add(reader)
        return reader

    def notify(self, tenant_id: UUID, thread_id: str, event: str, data: dict[str, Any]) -> None:
        """Tell a thread's readers something that belongs to no run."""
        channel = self.channels.get((tenant_id, thread_id))
        if channel is not None:
            channel.append(Entry("", 0, event, data))
            channel.trim()

    def drop_if_idle(self, channel: Channel) -> None:
        """Forget a channel that nobody reads and no run writes."""
        if not channel.readers and not channel.runs:
            self.channels.pop(channel.key, None)


class LiveRun:
    """The writing end: what the loop publishes of one run."""

    def __init__(self, tenant_id: UUID, thread_id: str, run_id: str, *, state: int) -> None:
        self.run_id = run_id
        self.state = state
        self.channel = hub.channel(tenant_id, thread_id)
        self.channel.writer = self
        self.channel.runs[run_id] = Told(since=state)

    def publish(self, event: str, data: dict[str, Any]) -> None:
        """Publish a change of state: the run's state number grows by one."""
        self.state += 1
        self.channel.append(Entry(self.run_id, self.state, event, data))

    def text(self, message_id: str, text: str) -> None:
        """Publish a piece of a message's text; all of one upstream read at once."""
        self.channel.append(text_entry(self.run_id, self.state, message_id, text))

    def end(self) -> None:
        """Nothing more comes from this run in this process."""
        channel = self.channel
        if channel.writer is self:
            channel.writer = None
            channel.runs[self.run_id].ended = monotonic()
        channel.trim()
        if channel.runs:
            asyncio.get_running_loop().call_later(LINGER_SECONDS + 0.1, channel.trim)


hub = Hub()
