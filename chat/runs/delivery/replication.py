"""Replicate live run events between server processes over the channel layer.

The process that executes a run forwards its entries to each process that asked,
one batch for all readers there, at least SPACING_SECONDS apart. Events that
belong to no run are published once to every process with readers of the thread.
Received entries go to local readers of the same tenant and thread, whose access
was checked when they subscribed. Without a channel layer (single process), runs
of other processes are read from the database only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol
from uuid import UUID

import structlog
from channels.layers import get_channel_layer

from chat.conf import conf
from chat.models import RunStatus
from chat.runs.delivery.hub import Hub, Key, Reader, ThreadLog, hub
from chat.runs.delivery.replica import Message, Replica, RunSource, pack_entry, parse_begun
from chat.runs.events import Cursor, Entry
from chat.runs.state.snapshots import ActiveRunRow, read_active, read_runs
from tenants.db import in_db

log = structlog.get_logger(__name__)

SPACING_SECONDS = 0.05
# Forwarding ends when the requesting process has not renewed its lease for this long.
LEASE_SECONDS = 10.0
FILL_SECONDS = 3.0
# Tells readers that events may have been missed: reload the history.
THREAD_CHANGED = "atrium.thread.changed"


def log_failure(task: asyncio.Task[None]) -> None:
    """Log the exception of a failed task."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("replication_task_failed", exc_info=error)


class ReplicationTransport(Protocol):
    """Interface of the transport used for replication."""

    up: bool

    def start(self) -> None:
        """Connect to the channel layer."""

    async def stop(self) -> None:
        """Disconnect from the channel layer."""

    def send(self, process: UUID, message: Message) -> None:
        """Send to one process."""

    def publish(self, key: Key, message: Message) -> None:
        """Send to all processes with readers of the thread."""

    async def join(self, key: Key) -> None:
        """Subscribe to the thread."""

    def leave(self, key: Key) -> None:
        """Unsubscribe from the thread."""


class DatabaseRunSource:
    """Database access for replicas."""

    async def get_active_run(self, key: Key) -> ActiveRunRow | None:
        """Return the thread's active run."""
        return await in_db(read_active, *key)

    async def list_events(self, key: Key, run: str) -> tuple[Entry, ...]:
        """Return a run's stored events."""
        return await in_db(read_runs, *key, [run])


class Replication:
    """Coordinates replication for this process; one per hub."""

    def __init__(self, of: Hub, *, rows: RunSource | None = None) -> None:
        self.hub = of
        self.rows: RunSource = rows or DatabaseRunSource()
        self.process_id: UUID | None = None
        self.link: ReplicationTransport | None = None
        self.replicas: dict[Key, Replica] = {}
        self.forwards: dict[tuple[UUID, Key], Forwarding] = {}
        self._look: Callable[[], Coroutine[Any, Any, None]] | None = None
        self._looking: asyncio.Task[None] | None = None
        of.cluster = self

    def start(
        self,
        process_id: UUID,
        *,
        look: Callable[[], Coroutine[Any, Any, None]] | None = None,
        link: ReplicationTransport | None = None,
    ) -> None:
        """Start replication; `look` is called when another process changed rows of local runs."""
        self.process_id, self._look = process_id, look
        if link is None and conf.several_processes:
            # Redis is imported only where it is used.
            from chat.runs.delivery.transport import RedisTransport

            link = RedisTransport(
                layer=get_channel_layer("processes"),
                process_id=process_id,
                receive=self.receive,
                recovered=self.resync,
            )
        self.link = link
        if link is not None:
            link.start()

    async def stop(self) -> None:
        """Stop forwarding and replicating."""
        forwards = [item.task for item in self.forwards.values() if item.task is not None]
        if forwards:
            # Let the last entries leave first.
            await asyncio.wait(forwards, timeout=4 * SPACING_SECONDS)
        for forward in list(self.forwards.values()):
            forward.stop()
        for key in list(self.replicas):
            self._stop_replica(key)
        if self.link is not None:
            await self.link.stop()
        self.link = self.process_id = None

    def release_thread(self, channel: ThreadLog) -> None:
        """Unsubscribe from the thread."""
        if self.link is not None:
            self.link.leave(channel.key)
        self._stop_replica(channel.key)

    def replicate_released(self, channel: ThreadLog, run_id: str) -> None:
        """Replicate a run that this process executed and released, for its local readers."""
        if self.process_id is not None and channel.is_read and channel.writer is None:
            channel.replicated_run = run_id
            self._start_replica(channel, None)

    def announce_run(self, channel: ThreadLog, run_id: str) -> None:
        """Announce to other processes that this process now executes the run."""
        self._stop_replica(channel.key)
        self._publish(channel.key, {"kind": "begun", "run": run_id})

    def announce_event(self, key: Key, event: str, data: dict[str, Any]) -> None:
        """Publish an event to readers in other processes."""
        self._publish(key, {"kind": "told", "event": event, "data": data})

    def _publish(self, key: Key, message: Message) -> None:
        if self.link is not None:
            self.link.publish(key, {"tenant": str(key[0]), "thread": key[1], **message})

    def request_check(self, process: UUID) -> None:
        """Ask another process to check the state of its runs at once."""
        if self.link is not None and process != self.process_id:
            self.link.send(process, {"kind": "look"})

    async def wait_until_joined(self, channel: ThreadLog) -> None:
        """Wait briefly until this process is subscribed to the thread."""
        if self.link is not None:
            await self.link.join(channel.key)

    async def fill(self, channel: ThreadLog, active: ActiveRunRow | None) -> None:
        """Replicate a run that another process executes; wait up to `FILL_SECONDS` for it."""
        if self.process_id is None or active is None:
            return
        writer = channel.writer
        if writer is not None and writer.run_id == active.run and writer.state < active.state:
            # Another process took the run over, and this process has not noticed yet.
            writer.end()
        if channel.writer is not None:
            return
        if active.status == RunStatus.REQUIRES_ACTION or active.owner == self.process_id:
            return
        mirror = self._start_replica(channel, active)
        with suppress(TimeoutError):
            await asyncio.wait_for(mirror.filled.wait(), FILL_SECONDS)

    def _start_replica(self, channel: ThreadLog, active: ActiveRunRow | None) -> Replica:
        key = channel.key
        if key not in self.replicas:
            mirror = self.replicas[key] = Replica(
                channel, active, process_id=self.process_id, link=self.link, rows=self.rows
            )
            mirror.task.add_done_callback(lambda _task: self._remove_replica(key, mirror))
        return self.replicas[key]

    def _stop_replica(self, key: Key) -> None:
        mirror = self.replicas.pop(key, None)
        if mirror is not None:
            mirror.stop()

    def _remove_replica(self, key: Key, mirror: Replica) -> None:
        log_failure(mirror.task)
        if self.replicas.get(key) is mirror:
            del self.replicas[key]

    def resync(self) -> None:
        """Resync all threads with local readers: messages may have been lost."""
        for channel in list(self.hub.channels.values()):
            self._resync_thread(channel)

    def _resync_thread(self, channel: ThreadLog) -> None:
        if channel.is_read:
            self.hub.deliver(channel.key, THREAD_CHANGED, {"id": channel.key[1]})
            if channel.writer is None:
                self._start_replica(channel, None)

    def receive(self, message: Message) -> None:
        """Handle a message from another process."""
        if message["kind"] == "look":
            if self._look is not None and (self._looking is None or self._looking.done()):
                self._looking = asyncio.create_task(self._look())
            return
        if "thread" not in message:
            return
        key = (UUID(message["tenant"]), message["thread"])
        channel = self.hub.channels.get(key)
        if message["kind"] == "ask":
            self._handle_request(channel, key, message)
        elif channel is not None and channel.is_read:
            self._deliver(channel, message)

    def _deliver(self, channel: ThreadLog, message: Message) -> None:
        kind = message["kind"]
        if kind == "told":
            self.hub.deliver(channel.key, message["event"], message["data"])
        elif kind == "missed":
            self._resync_thread(channel)
        elif kind == "begun" and channel.writer is None:
            self._start_replica(channel, parse_begun(message)).inbox.put_nowait(message)
        elif channel.key in self.replicas:
            self.replicas[channel.key].inbox.put_nowait(message)

    def _handle_request(self, channel: ThreadLog | None, key: Key, message: Message) -> None:
        asker = UUID(message["from"])
        current = self.forwards.get((asker, key))
        if current is not None and current.id == message["forward"]:
            current.renew()
            return
        if current is not None:
            current.stop()
        cursor = Cursor(run=message["run"], state=message["state"], offsets=message["offsets"])
        forward = Forwarding(self, asker, key, message["forward"])
        if channel is None or (channel.writer is None and cursor.run not in channel.runs):
            forward.finish()
            return
        self.forwards[asker, key] = forward
        forward.start(channel, cursor)


@dataclass(eq=False)
class Forwarding:
    """Forwarding of one thread's log to one process."""

    cluster: Replication
    asker: UUID
    key: Key
    id: str
    number: int = 0
    until: float = 0
    task: asyncio.Task[None] | None = None

    def start(self, channel: ThreadLog, cursor: Cursor) -> None:
        """Send the backlog after `cursor`, then new entries as they arrive."""
        reader = Reader(channel, local=False)
        channel.readers.add(reader)
        reader.seek(None, cursor=cursor)
        self.until = monotonic() + LEASE_SECONDS
        self.task = asyncio.create_task(self._send_all(reader))
        self.task.add_done_callback(log_failure)

    def stop(self) -> None:
        """Stop sending, without notice to the receiver."""
        if self.task is not None:
            self.task.cancel()

    def renew(self) -> None:
        """Renew the lease and report the next batch number, so a lost final batch is detected."""
        self.until = monotonic() + LEASE_SECONDS
        self._send({"kind": "at", "number": self.number})

    def finish(self) -> None:
        """Report that this process sends no more entries."""
        self._send({"kind": "over", "number": self.number})

    def _send(self, message: Message) -> None:
        if self.cluster.link is not None:
            target = {"tenant": str(self.key[0]), "thread": self.key[1], "forward": self.id}
            self.cluster.link.send(self.asker, {**target, **message})

    async def _send_all(self, reader: Reader) -> None:
        channel = reader.channel
        try:
            while monotonic() < self.until:
                with suppress(TimeoutError):
                    await asyncio.wait_for(reader.wake.wait(), LEASE_SECONDS / 4)
                    reader.wake.clear()
                    self._send_batch(channel, [entry for entry in reader.take() if entry.run])
                if channel.writer is None:
                    break
                await asyncio.sleep(SPACING_SECONDS)
            self.finish()
        finally:
            reader.close()
            if self.cluster.forwards.get((self.asker, self.key)) is self:
                del self.cluster.forwards[self.asker, self.key]

    def _send_batch(self, channel: ThreadLog, entries: list[Entry]) -> None:
        if not entries:
            return
        since = {run: span.since for run, span in channel.runs.items()}
        self._send(
            {
                "kind": "entries",
                "number": self.number,
                "entries": [pack_entry(entry) for entry in entries],
                "since": since,
            }
        )
        self.number += 1


cluster = Replication(hub)
