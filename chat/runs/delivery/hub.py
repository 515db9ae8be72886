"""Live delivery within a process: one log per thread, read by each reader at its own pace.

A reader holds a position in the log, not a queue. A reader that keeps up gets
each entry unchanged, encoded once for all readers; a slower reader gets its
backlog merged into fewer, larger entries. Everything here runs on the event
loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol
from uuid import UUID

from chat.runs.delivery.lost_messages import UnknownMessages, build_lost_ends
from chat.runs.events import (
    Cursor,
    Entry,
    Remainder,
    build_continuation,
    build_text_entry,
    get_text,
    measure_ended_texts,
    merge_entries,
    start_events,
    text_after,
)
from chat.runs.state.lifecycle import TERMINAL

Key = tuple[UUID, str]
EntryConsumer = Callable[[Entry], bool]

END_EVENTS = frozenset(f"thread.run.{status}" for status in TERMINAL)
# How long the log of an ended run is kept for readers that are still connecting.
LINGER_SECONDS = 5.0
# Number of log entries after which entries read by all readers are merged.
COMPACT_AFTER = 64


class ClusterPort(Protocol):
    """Interface to the readers and runs of the same threads in other processes."""

    def release_thread(self, channel: ThreadLog) -> None:
        """Handle that the thread log's last local reader has left."""

    def announce_run(self, channel: ThreadLog, run_id: str) -> None:
        """Announce that this process now executes the run."""

    def announce_event(self, key: Key, event: str, data: dict[str, Any]) -> None:
        """Announce an event that belongs to no run and that local readers have received."""


@dataclass(slots=True)
class RunSpan:
    """Bookkeeping for one run in a thread log: first state number and end time."""

    since: int
    ended: float | None = None

    @property
    def kept(self) -> bool:
        """True while a reader may still request the run: until `LINGER_SECONDS` after its end."""
        return self.ended is None or monotonic() - self.ended < LINGER_SECONDS


class ThreadLog:
    """Log of one thread in this process."""

    def __init__(self, key: Key, hub: Hub) -> None:
        self.key = key
        self.hub = hub
        self.log: list[Entry] = []
        self.base = 0  # sequence number of log[0]
        self.readers: set[Reader] = set()
        self.runs: dict[str, RunSpan] = {}
        self.writer: LiveRun | None = None
        # The run that another process executes and whose log is replicated here.
        self.replicated_run: str | None = None
        self._compact_at = COMPACT_AFTER

    @property
    def active_run(self) -> str | None:
        """Id of the run that still produces entries, in this process or another."""
        return self.writer.run_id if self.writer else self.replicated_run

    @property
    def is_read(self) -> bool:
        """True if the log has a local reader."""
        return any(reader.local for reader in self.readers)

    @property
    def end(self) -> int:
        """Sequence number of the next entry."""
        return self.base + len(self.log)

    def append(self, entry: Entry) -> None:
        """Append an entry and notify the readers."""
        self.log.append(entry)
        for reader in self.readers:
            reader.deliver(entry)
        if len(self.log) >= self._compact_at:
            self._compact()

    def since(self, sequence: int) -> Sequence[Entry]:
        """Return the entries with sequence numbers of at least `sequence`."""
        return self.log[sequence - self.base :]

    def _count_read_by_all(self) -> int:
        return min((reader.position for reader in self.readers), default=self.end) - self.base

    def _compact(self) -> None:
        """Merge entries that all readers have, so that a long answer is not kept as many deltas."""
        count = self._count_read_by_all()
        joined = list(merge_entries(self.log[:count]))
        self.log[:count] = joined
        self.base += count - len(joined)
        self._compact_at = len(self.log) + COMPACT_AFTER

    def trim(self) -> None:
        """Drop entries that all readers have and no resume can request; drop an idle log."""
        for run_id in [run_id for run_id, span in self.runs.items() if not span.kept]:
            del self.runs[run_id]
        count = self._count_read_by_all()
        for index, entry in enumerate(self.log[:count]):
            if entry.run in self.runs:
                count = index
                break
        del self.log[:count]
        self.base += count
        self.hub.drop_if_idle(self)

    def end_run(self, run_id: str) -> None:
        """Mark the run as ended in this process; its entries are kept for `LINGER_SECONDS`."""
        self.runs[run_id].ended = monotonic()
        for reader in self.readers:
            reader.wake.set()
        self.trim()
        if self.runs:
            asyncio.get_running_loop().call_later(LINGER_SECONDS + 0.1, self.trim)


class Reader:
    """Reader of a thread log: call `entries` until it is closed."""

    def __init__(self, channel: ThreadLog, *, local: bool = True) -> None:
        self.channel = channel
        # A reader that is not local serves another process.
        self.local = local
        self.position = channel.end
        self.wake = asyncio.Event()
        self._first: list[Entry] = []
        # Code points of an item that the client has and the local log does not have yet.
        self._ahead: dict[str, int] = {}
        # Messages that the client has and this process does not know; None if there are none.
        self._unknown_messages: UnknownMessages | None = None
        self._at_once: EntryConsumer | None = None

    def deliver(self, entry: Entry) -> None:
        """Pass the appended entry to `at_once` if the reader keeps up, else wake the reader."""
        keeps_up = not self._ahead and self._unknown_messages is None and not self.wake.is_set()
        if self._at_once and keeps_up and self._at_once(entry):
            self.position = self.channel.end
        else:
            self.wake.set()

    def seek(
        self,
        stored: Sequence[Entry] | None,
        *,
        cursor: Cursor | None = None,
        run_id: str | None = None,
    ) -> None:
        """Position the reader after `cursor` in its run, or at the start of the run `run_id`.

        An active run that the cursor does not name is sent from its start.
        `stored` are the events of these runs built from database rows that were
        read after this reader was created: they supply what the local log does
        not have. With None, only the log is used.
        """
        log, runs = self.channel.log, self.channel.runs
        stored_events = {entry.run: entry.event for entry in stored or ()}
        requested = cursor.run if cursor else run_id
        wanted = {
            run: cursor if cursor and cursor.run == run else Cursor(run=run, state=-1)
            for run in {*stored_events, self.channel.active_run, requested}
            if run in runs and (stored is None or self._is_up_to_date(run, stored_events.get(run)))
        }
        logged_ids = {entry.data.get("id") for entry in log}
        missing = [
            entry
            for entry in stored or ()
            # The start of a run may be in another process's log, or precede its waiting for input.
            if entry.run not in wanted
            or (
                wanted[entry.run].state < runs[entry.run].since
                and entry.data["id"] not in logged_ids
            )
        ]
        offsets = cursor.offsets if cursor else {}
        backlog = [more for entry in missing for more in self._iter_stored(entry, offsets)]
        self._first = [*backlog, *self._iter_backlog(wanted)]
        if cursor and self.local:
            doubts = UnknownMessages(cursor, [*(stored or ()), *log], thread_id=self.channel.key[1])
            self._unknown_messages = doubts if doubts.left else None
        self.position = self.channel.end
        if self._first:
            self.wake.set()

    def _iter_stored(self, entry: Entry, offsets: Mapping[str, int]) -> Iterator[Entry]:
        """Yield a stored event; for a text still in progress, only the part after `offsets`.

        Once the local log has that text, it has it from the first character.
        """
        data = entry.data
        if data.get("object") != "thread.message" or data["status"] != "in_progress":
            yield entry
            return
        name = data["id"]
        if name not in offsets:
            yield from start_events(entry, state=entry.state)
        have = offsets.get(name, 0)
        yield from text_after(entry, have, state=entry.state)
        logged = sum(len(item.text or "") for item in self.channel.log if item.item == name)
        ahead = max(have, len(get_text(data))) - logged
        if ahead > 0:
            self._ahead[name] = ahead

    def _is_up_to_date(self, run: str, by_rows: str | None) -> bool:
        """Return True if the log is as recent as the rows, whose last event is `by_rows`."""
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
        return last in (by_rows, *END_EVENTS)

    def _iter_backlog(self, wanted: Mapping[str, Cursor]) -> Iterator[Entry]:
        """Yield the backlog of the `wanted` runs, and other events since the reader was created."""
        new = self.position - self.channel.base
        ended = measure_ended_texts(self.channel.log)
        rest = {run: Remainder(cursor, ended=ended) for run, cursor in wanted.items()}
        for index, entry in enumerate(self.channel.log):
            if entry.run in rest:
                yield from rest[entry.run].of(entry)
            elif index >= new and entry.text is None:
                yield entry
        for value in rest.values():
            self._ahead.update(value.count_ahead())

    async def entries(self, at_once: EntryConsumer | None = None) -> list[Entry]:
        """Wait for new entries and return them in order, a backlog with its text deltas merged.

        While waiting, `at_once` is called with each entry in the event-loop iteration that
        appends it. An entry for which it returns True is consumed and not returned.
        """
        while True:
            self._at_once = at_once
            try:
                await self.wake.wait()
            finally:
                self._at_once = None
            self.wake.clear()
            entries = self.take()
            if entries:
                return entries

    def take(self) -> list[Entry]:
        """Return the new entries without waiting."""
        new = self.channel.since(self.position)
        self.position = self.channel.end
        if self._ahead:
            new = [left for entry in new for left in self._iter_unseen(entry)]
        if len(new) == 1 and not self._first and self._unknown_messages is None:
            return [new[0]]
        gathered = [*self._first, *new]
        self._first = []
        if self._unknown_messages is not None:
            gathered = list(self._unknown_messages.close_lost(gathered))
            for entry in gathered:
                if entry.text is None:
                    self._ahead.pop(entry.data.get("id", ""), None)
            self._unknown_messages = self._unknown_messages if self._unknown_messages.left else None
        return list(merge_entries(gathered))

    def _iter_unseen(self, entry: Entry) -> Iterator[Entry]:
        """Yield the part of an entry that the client does not have yet."""
        skipped = self._ahead.get(entry.item, 0)
        if entry.text is None or not skipped:
            yield entry
            return
        self._ahead[entry.item] = max(0, skipped - len(entry.text))
        if not self._ahead[entry.item]:
            del self._ahead[entry.item]
        if skipped < len(entry.text):
            yield build_continuation(entry, entry.text[skipped:])

    def close(self) -> None:
        """Stop reading."""
        channel = self.channel
        channel.readers.discard(self)
        if not channel.is_read and channel.hub.cluster is not None:
            channel.hub.cluster.release_thread(channel)
        channel.hub.drop_if_idle(channel)


class Hub:
    """Registry of the thread logs of this process."""

    def __init__(self) -> None:
        self.channels: dict[Key, ThreadLog] = {}
        self.cluster: ClusterPort | None = None

    def channel(self, tenant_id: UUID, thread_id: str) -> ThreadLog:
        """Return the thread's log, created on first use."""
        key = (tenant_id, thread_id)
        if key not in self.channels:
            self.channels[key] = ThreadLog(key, self)
        return self.channels[key]

    def subscribe(self, tenant_id: UUID, thread_id: str) -> Reader:
        """Create a reader; the caller has checked access to the thread."""
        channel = self.channel(tenant_id, thread_id)
        reader = Reader(channel)
        channel.readers.add(reader)
        return reader

    def notify(self, tenant_id: UUID, thread_id: str, event: str, data: dict[str, Any]) -> None:
        """Notify a thread's readers in all processes of an event that belongs to no run."""
        self.deliver((tenant_id, thread_id), event, data)
        if self.cluster is not None:
            self.cluster.announce_event((tenant_id, thread_id), event, data)

    def deliver(self, key: Key, event: str, data: dict[str, Any]) -> None:
        """Notify a thread's readers in this process."""
        channel = self.channels.get(key)
        if channel is not None:
            channel.append(Entry("", 0, event, data))
            channel.trim()

    def drop_if_idle(self, channel: ThreadLog) -> None:
        """Drop a thread log that has no readers and no runs."""
        if not channel.readers and not channel.runs:
            self.channels.pop(channel.key, None)


class LiveRun:
    """Writer of one run: publishes its events and text until `end`."""

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
        channel.writer, channel.replicated_run = self, None
        channel.runs[run_id] = RunSpan(since=state)
        if channel.hub.cluster is not None:
            channel.hub.cluster.announce_run(channel, run_id)

    def publish(self, event: str, data: dict[str, Any]) -> None:
        """Publish a state change and increment the run's state number."""
        self.state += 1
        self._append(Entry(self.run_id, self.state, event, data))

    def text(self, message_id: str, text: str, *, part: int = 0) -> None:
        """Publish a text delta of a message: everything from one upstream read."""
        self._append(build_text_entry(self.run_id, self.state, message_id, text, part))

    def _append(self, entry: Entry) -> None:
        if self.channel.writer is self:
            self.channel.append(entry)

    def end_lost(self) -> None:
        """Publish the end of messages that an earlier claim began here and never stored.

        Call it after stored messages are announced: a message still open then has no row.
        """
        lost = build_lost_ends(self.channel.log, self.run_id, begun_by=self.since, state=self.state)
        for entry in lost:
            self.publish(entry.event, entry.data)

    def end(self) -> None:
        """End the run in this process."""
        if self.channel.writer is self:
            self.channel.writer = None
            self.channel.end_run(self.run_id)


hub = Hub()
