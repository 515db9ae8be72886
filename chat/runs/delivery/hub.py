"""Live delivery within a process: one log per thread, read by each reader at its own pace.

A reader holds a place in the log, not a queue. One that keeps up gets each
entry as it was made, encoded once for all; one that is slower gets what has
gathered since, merged into wider ones. Everything here runs on the event
loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol
from uuid import UUID

from chat.runs.delivery.lost_messages import Doubts, ends_of_lost
from chat.runs.events import (
    Cursor,
    Entry,
    Remainder,
    beginning_of,
    measure_ended_texts,
    merge_entries,
    more_of,
    rest_of,
    text_entry,
    text_of,
)
from chat.runs.state.lifecycle import TERMINAL

Key = tuple[UUID, str]
AtOnce = Callable[[Entry], bool]

ENDS = frozenset(f"thread.run.{status}" for status in TERMINAL)
# How long the log of a run that ended is kept for a reader on its way.
LINGER_SECONDS = 5.0
# Entries that gather before what everybody has read is joined.
COMPACT_AFTER = 64


class ClusterPort(Protocol):
    """Readers and runs of the same threads in other processes."""

    def unread(self, channel: ThreadLog) -> None:
        """The channel's last reader here has left."""

    def announce_run(self, channel: ThreadLog, run_id: str) -> None:
        """This process begins to execute a run."""

    def announce_event(self, key: Key, event: str, data: dict[str, Any]) -> None:
        """The readers here were told something that belongs to no run."""


@dataclass(slots=True)
class RunSpan:
    """A run in a channel's log: the state number it began at here, and when it ended here."""

    since: int
    ended: float | None = None

    @property
    def kept(self) -> bool:
        """Tell whether a reader may still ask for it."""
        return self.ended is None or monotonic() - self.ended < LINGER_SECONDS


class ThreadLog:
    """The log of one thread in this process."""

    def __init__(self, key: Key, hub: Hub) -> None:
        self.key = key
        self.hub = hub
        self.log: list[Entry] = []
        self.base = 0  # sequence number of log[0]
        self.readers: set[Reader] = set()
        self.runs: dict[str, RunSpan] = {}
        self.writer: LiveRun | None = None
        # A run that another process executes and whose log is copied here.
        self.mirrored: str | None = None
        self._compact_at = COMPACT_AFTER

    @property
    def active_run(self) -> str | None:
        """The id of the run whose entries still come, from this process or another."""
        return self.writer.run_id if self.writer else self.mirrored

    @property
    def is_read(self) -> bool:
        """Tell whether somebody reads here."""
        return any(reader.local for reader in self.readers)

    @property
    def end(self) -> int:
        """The sequence number of the next entry."""
        return self.base + len(self.log)

    def append(self, entry: Entry) -> None:
        """Add an entry and tell the readers."""
        self.log.append(entry)
        for reader in self.readers:
            reader.tell(entry)
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
        joined = list(merge_entries(self.log[:count]))
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
        self.hub.drop_if_idle(self)

    def let_go(self, run_id: str) -> None:
        """Nothing more comes of the run here; its log is kept for a while."""
        self.runs[run_id].ended = monotonic()
        for reader in self.readers:
            reader.wake.set()
        self.trim()
        if self.runs:
            asyncio.get_running_loop().call_later(LINGER_SECONDS + 0.1, self.trim)


class Reader:
    """One reader of a channel: `entries` until it is closed."""

    def __init__(self, channel: ThreadLog, *, local: bool = True) -> None:
        self.channel = channel
        # Another process reads through one that is not local.
        self.local = local
        self.position = channel.end
        self.wake = asyncio.Event()
        self._first: list[Entry] = []
        # Code points that the client has of an item beyond the log here.
        self._ahead: dict[str, int] = {}
        # Messages that the client has and that are not known here; None where there are none.
        self._doubts: Doubts | None = None
        self._at_once: AtOnce | None = None

    def tell(self, entry: Entry) -> None:
        """Have what was just appended taken at once, or wake whoever reads."""
        keeps_up = not self._ahead and self._doubts is None and not self.wake.is_set()
        if self._at_once and keeps_up and self._at_once(entry):
            self.position = self.channel.end
        else:
            self.wake.set()

    def place(
        self,
        stored: Sequence[Entry] | None,
        *,
        cursor: Cursor | None = None,
        run_id: str | None = None,
    ) -> None:
        """Begin with what a client at `cursor` lacks of that run, or all of the run `run_id`.

        Whatever is active is told from its beginning where the cursor does not
        name it. `stored` are the events of these runs by their rows, read after
        this reader was made: they tell what the log here does not. Without them
        (None) the log is all there is.
        """
        log, runs = self.channel.log, self.channel.runs
        by_rows = {entry.run: entry.event for entry in stored or ()}
        named = cursor.run if cursor else run_id
        wanted = {
            run: cursor if cursor and cursor.run == run else Cursor(run=run, state=-1)
            for run in {*by_rows, self.channel.active_run, named}
            if run in runs and (stored is None or self._is_told(run, by_rows.get(run)))
        }
        told = {entry.data.get("id") for entry in log}
        missing = [
            entry
            for entry in stored or ()
            # The beginning of a run may have been told elsewhere, or before it waited.
            if entry.run not in wanted
            or (wanted[entry.run].state < runs[entry.run].since and entry.data["id"] not in told)
        ]
        offsets = cursor.offsets if cursor else {}
        first = [more for entry in missing for more in self._by_rows(entry, offsets)]
        self._first = [*first, *self._lacking(wanted)]
        if cursor and self.local:
            doubts = Doubts(cursor, [*(stored or ()), *log], thread_id=self.channel.key[1])
            self._doubts = doubts if doubts.left else None
        self.position = self.channel.end
        if self._first:
            self.wake.set()

    def _by_rows(self, entry: Entry, offsets: Mapping[str, int]) -> Iterator[Entry]:
        """Yield what a stored event tells; of a text that grows, what lacks at `offsets`.

        The log here, once it has that text, begins with its first character.
        """
        data = entry.data
        if data.get("object") != "thread.message" or data["status"] != "in_progress":
            yield entry
            return
        name = data["id"]
        if name not in offsets:
            yield from beginning_of(entry, state=entry.state)
        have = offsets.get(name, 0)
        yield from rest_of(entry, have, state=entry.state)
        logged = sum(len(item.text or "") for item in self.channel.log if item.item == name)
        ahead = max(have, len(text_of(data))) - logged
        if ahead > 0:
            self._ahead[name] = ahead

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
        ended = measure_ended_texts(self.channel.log)
        rest = {run: Remainder(cursor, ended=ended) for run, cursor in wanted.items()}
        for index, entry in enumerate(self.channel.log):
            if entry.run in rest:
                yield from rest[entry.run].of(entry)
            elif index >= new and entry.text is None:
                yield entry
        for value in rest.values():
            self._ahead.update(value.ahead())

    async def entries(self, at_once: AtOnce | None = None) -> list[Entry]:
        """Wait for something new and return it in order, text pieces merged where it gathered.

        Meanwhile `at_once` may take an entry in the very turn of the loop in which it comes: it
        tells whether it did. What it takes is not returned.
        """
        while True:
            self._at_once = at_once
            try:
                await self.wake.wait()
            finally:
                self._at_once = None
            self.wake.clear()
            found = self.take()
            if found:
                return found

    def take(self) -> list[Entry]:
        """Return what is new now, if anything."""
        new = self.channel.since(self.position)
        self.position = self.channel.end
        if self._ahead:
            new = [left for entry in new for left in self._beyond(entry)]
        if len(new) == 1 and not self._first and self._doubts is None:
            return [new[0]]
        gathered = [*self._first, *new]
        self._first = []
        if self._doubts is not None:
            gathered = list(self._doubts.close_lost(gathered))
            for entry in gathered:
                if entry.text is None:
                    self._ahead.pop(entry.data.get("id", ""), None)
            self._doubts = self._doubts if self._doubts.left else None
        return list(merge_entries(gathered))

    def _beyond(self, entry: Entry) -> Iterator[Entry]:
        """Yield what of an entry the client does not have already."""
        skipped = self._ahead.get(entry.item, 0)
        if entry.text is None or not skipped:
            yield entry
            return
        self._ahead[entry.item] = max(0, skipped - len(entry.text))
        if not self._ahead[entry.item]:
            del self._ahead[entry.item]
        if skipped < len(entry.text):
            yield more_of(entry, entry.text[skipped:])

    def close(self) -> None:
        """Stop reading."""
        channel = self.channel
        channel.readers.discard(self)
        if not channel.is_read and channel.hub.elsewhere is not None:
            channel.hub.elsewhere.unread(channel)
        channel.hub.drop_if_idle(channel)


class Hub:
    """The channels of this process."""

    def __init__(self) -> None:
        self.channels: dict[Key, ThreadLog] = {}
        self.elsewhere: ClusterPort | None = None

    def channel(self, tenant_id: UUID, thread_id: str) -> ThreadLog:
        """Return the thread's channel, made on first use."""
        key = (tenant_id, thread_id)
        if key not in self.channels:
            self.channels[key] = ThreadLog(key, self)
        return self.channels[key]

    def subscribe(self, tenant_id: UUID, thread_id: str) -> Reader:
        """Return a new reader; the caller has checked its right to the thread."""
        channel = self.channel(tenant_id, thread_id)
        reader = Reader(channel)
        channel.readers.add(reader)
        return reader

    def notify(self, tenant_id: UUID, thread_id: str, event: str, data: dict[str, Any]) -> None:
        """Tell a thread's readers in every process something that belongs to no run."""
        self.tell((tenant_id, thread_id), event, data)
        if self.elsewhere is not None:
            self.elsewhere.announce_event((tenant_id, thread_id), event, data)

    def tell(self, key: Key, event: str, data: dict[str, Any]) -> None:
        """Tell a thread's readers in this process."""
        channel = self.channels.get(key)
        if channel is not None:
            channel.append(Entry("", 0, event, data))
            channel.trim()

    def drop_if_idle(self, channel: ThreadLog) -> None:
        """Forget a channel that nobody reads and no run writes."""
        if not channel.readers and not channel.runs:
            self.channels.pop(channel.key, None)


class LiveRun:
    """The writing end: what the loop publishes of one run, until `end`."""

    def __init__(
        self,
        tenant_id: UUID,
        thread_id: str,
        run_id: str,
        *,
        state: int,
        within: Hub | None = None,
    ) -> None:
        self.run_id = run_id
        self.state = self.since = state
        channel = self.channel = (within or hub).channel(tenant_id, thread_id)
        channel.writer, channel.mirrored = self, None
        channel.runs[run_id] = RunSpan(since=state)
        if channel.hub.elsewhere is not None:
            channel.hub.elsewhere.announce_run(channel, run_id)

    def publish(self, event: str, data: dict[str, Any]) -> None:
        """Publish a change of state: the run's state number grows by one."""
        self.state += 1
        self._append(Entry(self.run_id, self.state, event, data))

    def text(self, message_id: str, text: str, *, part: int = 0) -> None:
        """Publish a piece of a message's text; all of one upstream read at once."""
        self._append(text_entry(self.run_id, self.state, message_id, text, part))

    def _append(self, entry: Entry) -> None:
        if self.channel.writer is self:
            self.channel.append(entry)

    def end_lost(self) -> None:
        """Tell the ends of what an earlier claim began here and nobody stored.

        What was stored is announced before: a message that is still open has no row.
        """
        lost = ends_of_lost(self.channel.log, self.run_id, begun_by=self.since, state=self.state)
        for entry in lost:
            self.publish(entry.event, entry.data)

    def end(self) -> None:
        """Nothing more comes from this run in this process."""
        if self.channel.writer is self:
            self.channel.writer = None
            self.channel.let_go(self.run_id)


hub = Hub()
