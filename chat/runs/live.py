"""Live delivery within a process: one log per thread, read by each subscriber at its own pace.

A subscriber holds a place in the log, not a queue. One that keeps up gets each
frame as it was made, encoded once for all; one that is slower gets what has
gathered since, merged into wider frames. Everything here runs on the event
loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from chat import wire

Key = tuple[UUID, str]


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


class Channel:
    """The log of one thread in this process."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.log: list[Entry] = []
        self.base = 0  # sequence number of log[0]
        self.subscribers: set[Subscriber] = set()
        self.writer: LiveRun | None = None

    @property
    def active_run(self) -> str | None:
        """The id of the run that this process executes on the thread."""
        return self.writer.run_id if self.writer else None

    @property
    def end(self) -> int:
        """The sequence number of the next entry."""
        return self.base + len(self.log)

    def append(self, entry: Entry) -> None:
        """Add an entry and wake the subscribers."""
        self.log.append(entry)
        for subscriber in self.subscribers:
            subscriber.wake.set()

    def since(self, sequence: int) -> Sequence[Entry]:
        """Return the entries from `sequence` on."""
        return self.log[sequence - self.base :]

    def trim(self) -> None:
        """Forget what every subscriber has and no resume can ask for."""
        if self.active_run is not None:
            return
        kept_from = min((s.position for s in self.subscribers), default=self.end)
        del self.log[: kept_from - self.base]
        self.base = kept_from


class Subscriber:
    """One reader of a channel."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.position = channel.end
        self.wake = asyncio.Event()
        self.first: list[Entry] = []

    def resume(self, cursor: Cursor | None) -> bool:
        """Begin with what a client at `cursor` lacks of the active run.

        Return False when no run is live here: the stored state answers then.
        """
        run = self.channel.active_run
        if run is None:
            return False
        have = cursor if cursor and cursor.run == run else Cursor(run=run, state=-1)
        # What another run, or none, said since this reader came is not in the active run's part.
        others = [entry for entry in self.channel.since(self.position) if entry.run != run]
        self.first = [*others, *lacking(self.channel.log, have)]
        self.position = self.channel.end
        self.wake.set()
        return True

    async def frames(self) -> list[str]:
        """Wait for something new and return its frames, in order."""
        await self.wake.wait()
        self.wake.clear()
        thread = self.channel.key[1]
        new = self.channel.since(self.position)
        self.position = self.channel.end
        if len(new) == 1 and not self.first:
            return [new[0].frame(thread)]
        entries = [*self.first, *new]
        self.first = []
        return [entry.frame(thread) for entry in merged(entries)]

    def close(self) -> None:
        """Stop reading."""
        self.channel.subscribers.discard(self)
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


def lacking(log: Sequence[Entry], cursor: Cursor) -> Iterator[Entry]:
    """Yield what a client at `cursor` lacks of its run: later events, and the rest of each text."""
    seen: dict[str, int] = {}
    for entry in log:
        if entry.run != cursor.run:
            continue
        if entry.text is None:
            if entry.state > cursor.state:
                yield entry
            continue
        start = seen.get(entry.item, 0)
        seen[entry.item] = start + len(entry.text)
        have = cursor.offsets.get(entry.item, 0)
        if have <= start:
            yield entry
        elif have < seen[entry.item]:
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

    def subscribe(self, tenant_id: UUID, thread_id: str) -> Subscriber:
        """Return a new reader; the caller has checked its right to the thread."""
        channel = self.channel(tenant_id, thread_id)
        subscriber = Subscriber(channel)
        channel.subscribers.add(subscriber)
        return subscriber

    def notify(self, tenant_id: UUID, thread_id: str, event: str, data: dict[str, Any]) -> None:
        """Tell a thread's readers something that belongs to no run."""
        channel = self.channels.get((tenant_id, thread_id))
        if channel is not None:
            channel.append(Entry("", 0, event, data))
            channel.trim()

    def drop_if_idle(self, channel: Channel) -> None:
        """Forget a channel that nobody reads and no run writes."""
        if not channel.subscribers and channel.active_run is None:
            self.channels.pop(channel.key, None)


class LiveRun:
    """The writing end: what the loop publishes of one run."""

    def __init__(self, tenant_id: UUID, thread_id: str, run_id: str, *, state: int) -> None:
        self.run_id = run_id
        self.state = state
        self.channel = hub.channel(tenant_id, thread_id)
        self.channel.writer = self

    def publish(self, event: str, data: dict[str, Any]) -> None:
        """Publish a change of state: the run's state number grows by one."""
        self.state += 1
        self.channel.append(Entry(self.run_id, self.state, event, data))

    def text(self, message_id: str, text: str) -> None:
        """Publish a piece of a message's text; all of one upstream read at once."""
        self.channel.append(text_entry(self.run_id, self.state, message_id, text))

    def end(self) -> None:
        """Nothing more comes from this run in this process."""
        if self.channel.writer is self:
            self.channel.writer = None
        self.channel.trim()
        hub.drop_if_idle(self.channel)


hub = Hub()
