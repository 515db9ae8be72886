"""Transport over the channel layer: messages to one process or to all readers of a thread.

Messages are sent in order and delivered at most once. A ping that this process
sends to itself each second checks that the layer works. After a lost ping or a
reconnect, `recovered` is called, because other messages may be lost as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from uuid import UUID

import structlog
from cryptography.fernet import InvalidToken
from redis.exceptions import RedisError

from chat.runs.delivery.hub import Key

log = structlog.get_logger(__name__)

Message = dict[str, Any]

# Message format. Processes with different versions ignore each other and poll the database.
VERSION = 2
PING_SECONDS = 1.0
# Without a ping for this long the layer counts as unavailable.
MAX_SILENCE_SECONDS = 3.5
# Timeout of one operation: each operation on a hanging layer delays the next by this long.
OPERATION_SECONDS = 5.0
JOIN_SECONDS = 1.0
MAX_WAITING = 10_000
THREAD_GROUP_PREFIX = "atrium-thread."
UNAVAILABLE_ERRORS = (RedisError, OSError, TimeoutError)


def get_process_group(process: UUID) -> str:
    """Return the name of the group that contains only this process."""
    return f"atrium-process.{process.hex}"


def get_thread_group(key: Key) -> str:
    """Return the name of the group of processes with readers of the thread."""
    return f"{THREAD_GROUP_PREFIX}{key[0].hex}.{key[1]}"


@dataclass(kw_only=True)
class RedisTransport:
    """Transport over a Redis channel layer. Not thread-safe: use it on the event loop only."""

    layer: Any
    process_id: UUID
    receive: Callable[[Message], None]
    recovered: Callable[[], None]
    up: bool = False
    _name: str | None = None
    # Groups this process subscribes to; the event is set once the subscription is confirmed.
    _groups: dict[str, asyncio.Event] = field(default_factory=dict)
    _outgoing: asyncio.Queue[tuple[str, str, Message]] = field(default_factory=asyncio.Queue)
    # Thread groups that missed one of our messages, with the ids of tenant and thread.
    _missed: dict[str, Message] = field(default_factory=dict)
    _pings_sent: int = 0
    _last_ping: int = 0
    # Number of the first ping after the layer reconnected.
    _reconnect_ping: int = 0
    _last_ping_at: float = field(default_factory=monotonic)
    _unavailable: bool = False
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        """Start sending, receiving and pinging, even if the layer is unavailable for now."""
        self._groups[get_process_group(self.process_id)] = asyncio.Event()
        self.layer.reconnected = self._handle_reconnect
        for work in (self._receive_all, self._send_all, self._ping_all):
            self._tasks.append(asyncio.create_task(work()))

    async def stop(self) -> None:
        """Send the remaining messages and disconnect."""
        if self.up:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._outgoing.join(), JOIN_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self.up = False
        with suppress(*UNAVAILABLE_ERRORS):
            async with asyncio.timeout(JOIN_SECONDS):
                await self.layer.flush()

    def send(self, process: UUID, message: Message) -> None:
        """Send to one process."""
        self._enqueue("send", get_process_group(process), message)

    def publish(self, key: Key, message: Message) -> None:
        """Send to every process with readers of the thread."""
        self._enqueue("send", get_thread_group(key), message)

    async def join(self, key: Key) -> None:
        """Subscribe to the thread; wait up to `JOIN_SECONDS` for confirmation."""
        group = get_thread_group(key)
        if group not in self._groups:
            self._groups[group] = asyncio.Event()
            self._enqueue("add", group, {})
        if self.up:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._groups[group].wait(), JOIN_SECONDS)

    def leave(self, key: Key) -> None:
        """Unsubscribe from the thread."""
        group = get_thread_group(key)
        if self._groups.pop(group, None) is not None:
            self._enqueue("discard", group, {})

    def _enqueue(self, operation: str, group: str, message: Message) -> None:
        if self._outgoing.qsize() < MAX_WAITING:
            self._outgoing.put_nowait((operation, group, self._sign(message)))
        elif operation == "send":
            self._record_missed(group, message)

    def _sign(self, message: Message) -> Message:
        return {**message, "from": str(self.process_id), "version": VERSION}

    def _record_missed(self, group: str, message: Message) -> None:
        if group.startswith(THREAD_GROUP_PREFIX):
            self._missed[group] = {name: message[name] for name in ("tenant", "thread")}

    async def _send_all(self) -> None:
        while True:
            operation, group, message = await self._outgoing.get()
            try:
                async with asyncio.timeout(OPERATION_SECONDS):
                    await self._perform(operation, group, message)
            except UNAVAILABLE_ERRORS as error:
                if operation == "send":
                    self._record_missed(group, message)
                log.debug("channel_layer_send_failed", error=type(error).__qualname__)
            finally:
                self._outgoing.task_done()

    async def _perform(self, operation: str, group: str, message: Message) -> None:
        if operation == "send":
            await self.layer.group_send(group, message)
        elif self._name is None:
            return  # `_open_channel` joins all groups
        elif operation == "add":
            await self._add(group, self._name)
        else:
            await self.layer.group_discard(group, self._name)

    async def _add(self, group: str, name: str) -> None:
        await self.layer.group_add(group, name)
        # Sent to ourselves too: receiving it confirms the subscription.
        await self.layer.group_send(group, self._sign({"kind": "joined", "group": group}))

    async def _receive_all(self) -> None:
        while True:
            try:
                if self._name is None:
                    self._name = await self._open_channel()
                message = await self.layer.receive(self._name)
                if message["version"] == VERSION:
                    self._dispatch(message)
            except UNAVAILABLE_ERRORS:
                await asyncio.sleep(PING_SECONDS)
            except (InvalidToken, KeyError, TypeError, ValueError) as error:
                # Sent by another installation, or by another version of this one.
                log.warning("channel_layer_message_rejected", error=type(error).__qualname__)

    async def _open_channel(self) -> str:
        name: str = await self.layer.new_channel()
        for group in list(self._groups):
            await self._add(group, name)
        self._ping()
        return name

    def _ping(self) -> None:
        self._pings_sent += 1
        self.send(self.process_id, {"kind": "ping", "number": self._pings_sent})

    def _handle_reconnect(self) -> None:
        """Detect by a ping when delivery works again: messages before it may be lost."""
        self.up = False
        self._ping()
        self._reconnect_ping = self._pings_sent

    def _dispatch(self, message: Message) -> None:
        own = message["from"] == str(self.process_id)
        if not own:
            self.receive(message)
        elif message["kind"] == "joined" and message["group"] in self._groups:
            self._groups[message["group"]].set()
        elif message["kind"] == "ping":
            self._handle_ping(message["number"])

    async def _ping_all(self) -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            if self._name is not None:
                self._ping()
            if not self._unavailable and monotonic() - self._last_ping_at > MAX_SILENCE_SECONDS:
                self.up, self._unavailable = False, True
                log.warning("channel_layer_lost")

    def _handle_ping(self, number: int) -> None:
        whole = number == self._last_ping + 1 and self.up
        self._last_ping, self._last_ping_at = number, monotonic()
        if whole or number < self._reconnect_ping:
            return
        self.up, self._unavailable = True, False
        log.info("channel_layer_recovered")
        for group, joined in self._groups.items():
            if not joined.is_set():
                self._enqueue("add", group, {})
        missed, self._missed = self._missed, {}
        for group, thread in missed.items():
            self._enqueue("send", group, {"kind": "missed", **thread})
        self.recovered()
