"""Server-sent event streams: follow a run until it ends, waits, or access is revoked.

A dropped stream does not stop the run: its reader holds no part of the run.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import structlog
from django.db import DatabaseError, transaction
from django.http import StreamingHttpResponse

from chat.api import events
from chat.api.events import EventId, Sequencer
from chat.conf import conf
from chat.errors import ChatError, NotFound
from chat.models import Run, ToolCall
from chat.runs.delivery.revocation import Connection
from chat.runs.engine.subscribe import Reader, follow
from chat.runs.engine.worker import worker
from chat.runs.events import Entry
from chat.runs.state.snapshots import read_thread
from chat.upstream.timeouts import ReusableTimeout
from chat.wire import add_contents
from tenants import clock
from tenants.authentication import Principal
from tenants.db import in_db
from tenants.outages import log_outage
from tenants.scope import tenant_scope

log = structlog.get_logger(__name__)

_open: Counter[UUID] = Counter()


class TooManyStreams(ChatError):
    """Too many open streams for this API key or its member. Close one first."""

    code = "too_many_streams"
    http_status = 429


@dataclass(frozen=True, kw_only=True)
class StreamStart:
    """Start of a run's stream: `run` and `thread` are wire objects as they were then.

    `thread` is sent first if it is given; `with_content` adds the text of passages to file
    searches. The other fields are as in `Sequencer`: events have IDs only on request, because
    the official Python client ends an event with an ID at any empty line.
    """

    run: dict[str, Any]
    at: EventId = events.BEFORE_RUN
    prelude: Sequence[str] = events.PRELUDE
    since: int = 0
    thread: dict[str, Any] | None = None
    with_content: bool = False
    with_ids: bool = False


class EventStream(StreamingHttpResponse):
    """Streaming response of a run's events; `start` allows it to be replayed."""

    def __init__(self, principal: Principal, beginning: StreamStart) -> None:
        self.start = beginning
        self.chunks = stream_events(principal, beginning)
        super().__init__(self.chunks, content_type="text/event-stream; charset=utf-8")
        self["X-Accel-Buffering"] = "no"

    def __aiter__(self) -> AsyncIterator[bytes]:
        # Django's iterator wraps each chunk twice more, to convert bytes to bytes.
        return self.chunks


def check_stream_limit(principal: Principal) -> None:
    """Check that the principal's key and its member may open one more stream in this process.

    Called before any work for a stream, and again by the stream itself when it opens:
    of many simultaneous requests, too many pass the first check.

    Raises:
        TooManyStreams: the key or the member has reached its limit.
    """
    key, member = _get_counter_keys(principal)
    if _open[key] >= conf.api_streams_per_key or _open[member] >= conf.api_streams_per_member:
        raise TooManyStreams()


def _get_counter_keys(principal: Principal) -> tuple[UUID, UUID]:
    """Return the IDs that open streams are counted by: the key and its member."""
    assert principal.key is not None
    return principal.key.pk, principal.key.membership_id


async def stream_events(
    principal: Principal, beginning: StreamStart
) -> AsyncGenerator[bytes, None]:
    """Yield the events from `beginning` on; the last one is `done` or an error."""
    run, thread, slow = beginning.run, beginning.thread, conf.slow_seconds
    sequencer = Sequencer(
        run,
        at=beginning.at,
        prelude=beginning.prelude,
        since=beginning.since,
        with_ids=beginning.with_ids,
    )
    try:
        check_stream_limit(principal)
    except TooManyStreams as error:
        yield events.encode_error(error.code, error.message)
        return
    with _watching(principal) as access:
        if thread is not None:
            created = events.encode("thread.created", thread)
            yield events.add_event_id(created, beginning.at) if beginning.with_ids else created
        try:
            chunks = _chunks(
                principal, sequencer, access.patience, with_content=beginning.with_content
            )
            async for chunk in chunks:
                # A client that does not read the chunk in time is cut off.
                access.patience.begin(slow)
                yield chunk
                access.patience.end()
        except NotFound:
            yield events.encode_error("not_found", "The thread was deleted.")
        except DatabaseError as error:
            if not log_outage(error, work="stream"):
                log.exception("stream_failed")
            yield events.encode_error("unavailable", "Temporarily unavailable. Please try again.")
        except asyncio.CancelledError:
            if not access.revoked:
                raise
            yield events.encode_error("access_ended", "This API key no longer has access.")
        else:
            yield events.DONE


async def _chunks(
    principal: Principal, sequencer: Sequencer, patience: ReusableTimeout, *, with_content: bool
) -> AsyncIterator[bytes]:
    """Yield the events of new entries, and a keep-alive after each silent interval."""
    thread, run = sequencer.run["thread_id"], sequencer.run["id"]
    _stored, reader = await follow(principal, thread, run_id=run)
    try:
        while not sequencer.ended:
            entries = await _wait_for_entries(reader, patience)
            add = sequencer.events
            if entries is None:
                yield events.KEEP_ALIVE
                # The rows contain entries that were lost in transit.
                stored = await in_db(read_thread, principal, thread, run_id=run)
                entries, add = list(stored.events), sequencer.catch_up
            if with_content and any(_has_results(entry.data) for entry in entries):
                entries = await in_db(_add_contents, principal, entries)
            chunk = b"".join(add(entries))
            if chunk:
                yield chunk
    finally:
        reader.close()


def _add_contents(principal: Principal, entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries, with the text of passages added to file searches."""
    searched = [entry.data["id"] for entry in entries if _has_results(entry.data)]
    with tenant_scope(principal.tenant_id), transaction.atomic():
        mine = Run.objects.visible_to(principal)
        calls = list(ToolCall.objects.filter(step_id__in=searched, run__in=mine))
    return [
        replace(entry, data=add_contents(entry.data, calls)) if _has_results(entry.data) else entry
        for entry in entries
    ]


def _has_results(data: dict[str, Any]) -> bool:
    if data.get("object") != "thread.run.step":
        return False
    calls = data["step_details"].get("tool_calls", [])
    return any("results" in call.get("file_search", {}) for call in calls)


async def _wait_for_entries(reader: Reader, patience: ReusableTimeout) -> list[Entry] | None:
    """Return the next entries, or None if none arrive in time."""
    try:
        return await patience.wait(reader.entries(), conf.keep_alive_seconds)
    except TimeoutError:
        return None


class StreamAccess:
    """Right of one stream to continue. `revoked` is set when the right is revoked.

    A single timer serves all waits of the stream: for entries and for its client.
    """

    def __init__(self) -> None:
        self.revoked = False
        self.patience = ReusableTimeout()
        self._task = asyncio.current_task()

    def end(self) -> None:
        """Revoke access: end the stream with an error, or cut off a client that does not read."""
        self.revoked = True
        if self._task is not None:
            self._task.cancel()


@contextmanager
def _watching(principal: Principal) -> Iterator[StreamAccess]:
    access, counted = StreamAccess(), _get_counter_keys(principal)
    unwatch = worker.watch(
        Connection(
            membership=principal.membership_id,
            key=counted[0],
            sign_in=None,
            since=clock.now(),
            close=access.end,
        )
    )
    _open.update(counted)
    try:
        yield access
    finally:
        access.patience.close()
        unwatch()
        _open.subtract(counted)
        for item in counted:
            if not _open[item]:
                del _open[item]
