"""Replica of the log of a run that another process executes, for local readers.

The owner of the run is asked to forward the backlog and then new entries.
Forwarded batches are numbered: after a gap the owner is asked again, from the
position reached. While it is silent or unreachable, database rows are polled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol
from uuid import UUID, uuid4

import structlog
from django.db import DatabaseError, InterfaceError

from chat.models import RunStatus
from chat.runs.delivery.hub import END_EVENTS, Key, RunSpan, ThreadLog
from chat.runs.delivery.lost_messages import (
    REST_EVENTS,
    build_lost_ends,
    find_open_messages,
    get_step_indexes,
)
from chat.runs.events import Cursor, Entry, build_text_entry, copy_entry, start_events, text_after
from chat.runs.state.snapshots import ActiveRunRow

log = structlog.get_logger(__name__)

Message = dict[str, Any]

# Interval between lease renewals; the first reply must arrive within one interval.
ASK_SECONDS = 0.5
# After this many renewals without a reply the owner counts as gone or unreachable.
MAX_UNANSWERED = 4
# Interval between polls of the rows.
LOOK_SECONDS = 1.0


class Transport(Protocol):
    """Transport to other processes."""

    up: bool

    def send(self, process: UUID, message: Message) -> None:
        """Send to one process."""


class RunSource(Protocol):
    """Database access to a thread that has local readers."""

    async def get_active_run(self, key: Key) -> ActiveRunRow | None:
        """Return the thread's active run."""

    async def list_events(self, key: Key, run: str) -> Sequence[Entry]:
        """Return a run's stored events."""


class Replica:
    """Replica that fills one thread log while it has readers and another process executes its run.

    Without `active` the run is read from the database; without a `link` so are all its events.
    """

    def __init__(
        self,
        channel: ThreadLog,
        active: ActiveRunRow | None,
        *,
        process_id: UUID | None,
        link: Transport | None,
        rows: RunSource,
    ) -> None:
        self.channel = channel
        self.process_id, self.link, self.rows = process_id, link, rows
        self.filled = asyncio.Event()
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._forward = ""
        self._expected = 0
        self.task = asyncio.create_task(self._follow(active))

    def stop(self) -> None:
        """Stop replicating: there are no readers left, or this process now executes the run."""
        self.task.cancel()

    @property
    def _is_wanted(self) -> bool:
        return self.channel.is_read and self.channel.writer is None

    async def _follow(self, active: ActiveRunRow | None) -> None:
        try:
            while self._is_wanted:
                try:
                    active = await self._replicate(active)
                except (DatabaseError, InterfaceError) as error:
                    log.warning("rows_read_failed", error=type(error).__qualname__)
                    await self._pause()
                    continue
                active = active or self._find_begun_run()
                if active is None:
                    return
        finally:
            self.filled.set()
            self._release()

    async def _replicate(self, active: ActiveRunRow | None) -> ActiveRunRow | None:
        """Replicate the active run from its owner or the rows; return the run active then."""
        active = active or await self._poll()
        if active is not None:
            if not await self._copy_from_owner(active):
                await self._append_stored(active.run)
                self.filled.set()
                await self._pause()
            active = await self._poll()
        return active

    async def _poll(self) -> ActiveRunRow | None:
        """Return the run to replicate; publish the end of the former run if it is still missing."""
        active = await self.rows.get_active_run(self.channel.key)
        former = self.channel.replicated_run
        if former is not None and (active is None or active.run != former):
            await self._append_stored(former)
            self._release()
        if active is not None and active.status == RunStatus.REQUIRES_ACTION:
            await self._append_stored(active.run)
            # No process executes it. The one that starts to will announce it over the transport.
            return None if self.link is None or self.link.up else active
        return active

    def _find_begun_run(self) -> ActiveRunRow | None:
        while not self.inbox.empty():
            message = self.inbox.get_nowait()
            if message["kind"] == "begun":
                return parse_begun(message)
        return None

    def _release(self) -> None:
        run, self.channel.replicated_run = self.channel.replicated_run, None
        if run is not None and self.channel.writer is None:
            self.channel.end_run(run)

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            message = await asyncio.wait_for(self.inbox.get(), LOOK_SECONDS)
            while message["kind"] != "begun":
                message = await asyncio.wait_for(self.inbox.get(), LOOK_SECONDS)

    async def _append_stored(self, run: str) -> None:
        stored = await self.rows.list_events(self.channel.key, run)
        if self._is_wanted:
            self._append(run, list(catch_up(self.channel.log, stored)), since=0)

    def _append(self, run: str, entries: Sequence[Entry], *, since: int) -> None:
        self.channel.replicated_run = run
        span = self.channel.runs.setdefault(run, RunSpan(since=since))
        span.ended = None
        for entry in entries:
            self.channel.append(entry)

    def _end_lost(self, since: dict[str, int], entries: Sequence[Entry]) -> None:
        """Append the ends of messages that an earlier claim began and its successor does not know.

        The rows were read before, and `entries`, the successor's first batch, holds everything
        it announced.
        """
        kept = {entry.item or entry.data["id"] for entry in entries}
        log = self.channel.log
        for run, begun_by in since.items():
            for end in build_lost_ends(log, run, begun_by=begun_by, state=begun_by, kept=kept):
                self.channel.append(end)

    def _request(self, active: ActiveRunRow, *, anew: bool) -> None:
        """Ask the owner to forward from the local position (`anew`), or to renew the lease."""
        assert self.link is not None and active.owner is not None
        if anew:
            self._forward, self._expected = uuid4().hex, 0
        have = find_cursor(self.channel.log, active.run)
        self.link.send(
            active.owner,
            {
                "kind": "ask",
                "tenant": str(self.channel.key[0]),
                "thread": self.channel.key[1],
                "forward": self._forward,
                "run": have.run,
                "state": have.state,
                "offsets": dict(have.offsets),
            },
        )

    async def _copy_from_owner(self, active: ActiveRunRow) -> bool:
        """Replicate from the owner until the run ends; return False if it does not forward."""
        link = self.link
        if link is None or not link.up or active.owner in (None, self.process_id):
            return False
        if active.run in self.channel.runs:
            # Entries from an earlier owner are not in this owner's log.
            await self._append_stored(active.run)
        self._request(active, anew=True)
        unanswered, due = 0, monotonic() + ASK_SECONDS
        while self._is_wanted:
            message = await self._get_message(due)
            if message is None:
                unanswered += 1
                if not self._expected or unanswered >= MAX_UNANSWERED or not link.up:
                    return False
                self._request(active, anew=False)
                due = monotonic() + ASK_SECONDS
            elif message["kind"] == "begun":
                if message["from"] != str(active.owner):
                    return True
            elif message["forward"] == self._forward:
                unanswered = 0
                if message["kind"] == "over":
                    return self._expected > 0
                if not self._append_batch(message):
                    self._request(active, anew=True)
        return True

    async def _get_message(self, due: float) -> Message | None:
        if self.inbox.empty():
            with suppress(TimeoutError):
                return await asyncio.wait_for(self.inbox.get(), max(0.0, due - monotonic()))
            return None
        return None if monotonic() > due else self.inbox.get_nowait()

    def _append_batch(self, message: Message) -> bool:
        """Append a forwarded batch; return False if an earlier batch is missing."""
        if message["number"] != self._expected:
            return False
        if message["kind"] == "entries":
            self._expected += 1
            entries = [unpack_entry(packed) for packed in message["entries"]]
            if not message["number"]:
                self._end_lost(message["since"], entries)
            for entry in entries:
                if self.channel.replicated_run not in (None, entry.run):
                    self._release()
                self._append(entry.run, [entry], since=message["since"][entry.run])
            self.filled.set()
        return True


def parse_begun(message: Message) -> ActiveRunRow:
    """Return the run that another process announced as its own."""
    return ActiveRunRow(run=message["run"], status=RunStatus.QUEUED, owner=UUID(message["from"]))


def pack_entry(entry: Entry) -> list[Any]:
    """Return an entry in its transport form."""
    data = entry.data if entry.text is None else None
    where = (entry.item, entry.text, entry.part, entry.approximate)
    return [entry.run, entry.state, entry.event, data, *where]


def unpack_entry(values: Sequence[Any]) -> Entry:
    """Return the entry from its transport form."""
    run, state, event, data, item, text, part, approximate = values
    if text is not None:
        return build_text_entry(run, state, item, text, part)
    return Entry(run, state, event, data, approximate=approximate)


def find_cursor(log: Sequence[Entry], run: str) -> Cursor:
    """Return the cursor up to which the log has the run."""
    state, offsets = -1, dict[str, int]()
    for entry in log:
        if entry.run != run:
            continue
        if entry.text is None:
            state = max(state, entry.state)
        else:
            offsets[entry.item] = offsets.get(entry.item, 0) + len(entry.text)
    return Cursor(run=run, state=state, offsets=offsets)


def catch_up(log: Sequence[Entry], stored: Sequence[Entry]) -> Iterator[Entry]:
    """Yield a run's stored events that the log does not have, and the remainder of its texts."""
    if not stored:
        return
    have = find_cursor(log, stored[0].run)
    logged = {
        entry.data["id"]: entry for entry in log if entry.run == have.run and entry.text is None
    }
    if any(entry.event in END_EVENTS for entry in logged.values()):
        return
    yield from _iter_lost_ends(log, stored, state=have.state)
    for entry in stored:
        state = max(entry.state, have.state)
        known = logged.get(entry.data["id"])
        if entry.data["object"] == "thread.message":
            length = have.offsets.get(entry.data["id"], 0)
            yield from _iter_message(entry, state, known, length)
        elif known is None or _is_news(entry, known):
            yield copy_entry(entry, state)


def _iter_lost_ends(
    log: Sequence[Entry], stored: Sequence[Entry], *, state: int
) -> Iterator[Entry]:
    """Yield the ends of messages that began in the log and that the rows prove lost.

    A run stores its steps in order: a step without a row never gets one if a later step has a
    row or the run is at rest.
    """
    run, kept = stored[-1], {entry.data["id"] for entry in stored}
    if run.event not in REST_EVENTS:
        last = max(get_step_indexes(stored).values(), default=-1)
        begun = get_step_indexes(log)
        kept |= {
            name for name in find_open_messages(log, run.run) if begun.get(name, last + 1) > last
        }
    yield from build_lost_ends(log, run.run, begun_by=state, state=state, kept=kept)


def _iter_message(entry: Entry, state: int, known: Entry | None, length: int) -> Iterator[Entry]:
    """Yield a message's start if it is new, the rest of its text, and its end."""
    growing = entry.data["status"] == "in_progress"
    if known is not None and known.data["status"] != "in_progress":
        return
    if known is None and growing:
        yield from start_events(entry, state=state)
    if growing or known is not None:
        yield from text_after(entry, length, state=state)
    if not growing:
        yield copy_entry(entry, state)


def _is_news(entry: Entry, known: Entry) -> bool:
    if entry.data["object"] == "thread.run.step":
        return entry.data != known.data and known.data["status"] == "in_progress"
    return entry.event != known.event or _get_retry_at(entry) != _get_retry_at(known)


def _get_retry_at(entry: Entry) -> object:
    """Return when a run retries its unavailable model server."""
    return entry.data.get("atrium", {}).get("retry_at")
