"""Streams of server-sent events: a run followed until it ends, waits, or its reader may not go on.

A stream that is dropped stops no run: whoever reads holds nothing of it.
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
from chat.api.events import Place, Sequencer
from chat.conf import conf
from chat.errors import ChatError, NotFound
from chat.models import Run, ToolCall
from chat.runs.delivery.revocation import Connection
from chat.runs.engine.subscribe import Reader, follow
from chat.runs.engine.worker import worker
from chat.runs.events import Entry
from chat.runs.state.snapshots import read_thread
from chat.upstream.patience import Patience
from chat.wire import with_contents
from tenants import clock
from tenants.authentication import Principal
from tenants.db import in_db
from tenants.outages import log_outage
from tenants.scope import tenant_scope

log = structlog.get_logger(__name__)

_open: Counter[UUID] = Counter()


class TooManyStreams(ChatError):
    """This key, or its member, has as many open streams as it may have: close one first."""

    code = "too_many_streams"
    http_status = 429


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """Where a stream of a run begins: `run` and `thread` are wire objects as they were then.

    `thread` is told first where it is given; `with_content` adds the text of passages to the
    searches that found them. The rest is as in `Sequencer`: ids only where they are asked for,
    since the official Python client takes an event with an id for one that ends in any empty line.
    """

    run: dict[str, Any]
    at: Place = events.BEFORE_RUN
    prelude: Sequence[str] = events.PRELUDE
    since: int = 0
    thread: dict[str, Any] | None = None
    with_content: bool = False
    with_ids: bool = False


class EventStream(StreamingHttpResponse):
    """The response that is a run's events; `beginning` tells how to stream them again."""

    def __init__(self, principal: Principal, beginning: Beginning) -> None:
        self.beginning = beginning
        self.chunks = stream_of(principal, beginning)
        super().__init__(self.chunks, content_type="text/event-stream; charset=utf-8")
        self["X-Accel-Buffering"] = "no"

    def __aiter__(self) -> AsyncIterator[bytes]:
        # Django's own wraps each chunk twice more on its way, to make bytes of what is bytes.
        return self.chunks


def check_room(principal: Principal) -> None:
    """Do nothing while the principal's key and its member may open one more stream here.

    Asked before anything is done for a stream, and again by the stream itself when it opens:
    of many at once, more than may be open pass the first time.

    Raises:
        TooManyStreams: when it may not.
    """
    key, member = _get_counter_keys(principal)
    if _open[key] >= conf.api_streams_per_key or _open[member] >= conf.api_streams_per_member:
        raise TooManyStreams()


def _get_counter_keys(principal: Principal) -> tuple[UUID, UUID]:
    """Return whose open streams are counted: the key, and the member whose key it is."""
    assert principal.key is not None
    return principal.key.pk, principal.key.membership_id


async def stream_of(principal: Principal, beginning: Beginning) -> AsyncGenerator[bytes, None]:
    """Yield the events from `beginning` on; the last one is `done`, or an error."""
    run, thread, slow = beginning.run, beginning.thread, conf.slow_seconds
    sequencer = Sequencer(
        run,
        at=beginning.at,
        prelude=beginning.prelude,
        since=beginning.since,
        with_ids=beginning.with_ids,
    )
    try:
        check_room(principal)
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
                # A client that does not take it in time is cut off.
                access.patience.begin(slow)
                yield chunk
                access.patience.end()
        except NotFound:
            yield events.encode_error("not_found", "The thread was deleted.")
        except DatabaseError as error:
            if not log_outage(error, work="stream"):
                log.exception("stream_not_served")
            yield events.encode_error("unavailable", "This cannot be read right now: try again.")
        except asyncio.CancelledError:
            if not access.over:
                raise
            yield events.encode_error("access_ended", "The access of this API key has ended.")
        else:
            yield events.DONE


async def _chunks(
    principal: Principal, sequencer: Sequencer, patience: Patience, *, with_content: bool
) -> AsyncIterator[bytes]:
    """Yield what the run's entries add, and a sign of life in every silence."""
    thread, run = sequencer.run["thread_id"], sequencer.run["id"]
    _stored, reader = await follow(principal, thread, run_id=run)
    try:
        while not sequencer.ended:
            entries = await _next(reader, patience)
            add = sequencer.events
            if entries is None:
                yield events.KEEP_ALIVE
                # Whatever was lost on the way here is in the rows.
                stored = await in_db(read_thread, principal, thread, run_id=run)
                entries, add = list(stored.events), sequencer.catch_up
            if with_content and any(_has_results(entry.data) for entry in entries):
                entries = await in_db(_with_contents, principal, entries)
            chunk = b"".join(add(entries))
            if chunk:
                yield chunk
    finally:
        reader.close()


def _with_contents(principal: Principal, entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries, searches among them with the text of what they found."""
    searched = [entry.data["id"] for entry in entries if _has_results(entry.data)]
    with tenant_scope(principal.tenant_id), transaction.atomic():
        mine = Run.objects.for_principal(principal)
        calls = list(ToolCall.objects.filter(step_id__in=searched, run__in=mine))
    return [
        replace(entry, data=with_contents(entry.data, calls)) if _has_results(entry.data) else entry
        for entry in entries
    ]


def _has_results(data: dict[str, Any]) -> bool:
    if data.get("object") != "thread.run.step":
        return False
    calls = data["step_details"].get("tool_calls", [])
    return any("results" in call.get("file_search", {}) for call in calls)


async def _next(reader: Reader, patience: Patience) -> list[Entry] | None:
    """Wait for entries; None after a while without any."""
    try:
        return await patience.wait(reader.entries(), conf.keep_alive_seconds)
    except TimeoutError:
        return None


class Access:
    """The right of one stream to go on. `over` is set when it was taken away.

    One timer is for all of the stream's waits: for entries, and for its client.
    """

    def __init__(self) -> None:
        self.over = False
        self.patience = Patience()
        self._task = asyncio.current_task()

    def end(self) -> None:
        """Take it away: the stream ends with an error, or is cut where its client does not read."""
        self.over = True
        if self._task is not None:
            self._task.cancel()


@contextmanager
def _watching(principal: Principal) -> Iterator[Access]:
    access, counted = Access(), _get_counter_keys(principal)
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
