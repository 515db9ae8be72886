"""What people do meanwhile: send, watch, come back, and send again what got no answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any
from uuid import uuid4

import aiohttp
from websockets.exceptions import WebSocketException

from chat.actions.send_message import create_message
from tests.crash.invariants import Acknowledged
from tests.crash.seen import Seen, follow_socket, follow_stream
from tests.crash.stand import Stand
from tests.server import Server
from tests.socket_client import ChatSocket, Frame, chat_socket

PATIENCE_SECONDS = 4.0
# Until somebody who has sent nothing yet gives up, once nothing dies any more.
FIRST_SECONDS = 120.0
GONE = (OSError, WebSocketException, TimeoutError, aiohttp.ClientError)
ENDS = frozenset({"completed", "failed", "cancelled", "incomplete", "expired"})


async def send(stand: Stand, socket: ChatSocket, text: str, *, thread: str | None = None) -> Frame:
    """Send a message and note what was acknowledged."""
    client_id = f"crash-{uuid4()}"
    return await _send(stand, socket, text, thread, client_id)


async def _send(
    stand: Stand, socket: ChatSocket, text: str, thread: str | None, client_id: str
) -> Frame:
    sent = await socket.say(
        text, assistant=stand.assistant, thread=thread, client_id=client_id, busy="queue"
    )
    if sent["type"] == "ack":
        run = sent["run"]["id"] if sent["run"] else None
        stand.acknowledged[client_id] = Acknowledged(client_id=client_id, text=text, run=run)
    return sent


async def watch(socket: ChatSocket, sent: Frame) -> None:
    """Read the run of `sent` from its beginning on."""
    cursor = {"run": sent["run"]["id"], "state": 0, "items": []}
    await socket.ask("subscribe", thread=sent["thread"]["id"], cursor=cursor)


def accept_here(stand: Stand, text: str) -> str:
    """Accept a message in this process, which executes nothing."""
    client_id = f"crash-{uuid4()}"
    sent = create_message(
        stand.world.acme.principal("alice"),
        None,
        assistant_id=stand.assistant,
        content=text,
        client_id=client_id,
    )
    assert sent.run is not None
    run = str(sent.run.pk)
    stand.acknowledged[client_id] = Acknowledged(client_id=client_id, text=text, run=run)
    return run


class Person:
    """Sends one message after the other in one chat, to whichever server is there."""

    def __init__(
        self,
        stand: Stand,
        servers: Callable[[], Sequence[Server]],
        *,
        name: str,
        session_key: str,
        choice: random.Random,
        key: str | None = None,
    ) -> None:
        # With an API key answers are read as streams of events, else over websockets.
        self.key = key
        self.stand, self.servers, self.name = stand, servers, name
        self.session_key, self.choice = session_key, choice
        self.thread: str | None = None
        self.sent = self.answered = 0

    async def chat(self, *, until: float) -> None:
        """Go on until `until`, in seconds of time.monotonic, and until one message is stored."""
        end = until + FIRST_SECONDS
        while monotonic() < end:
            words = self.choice.choice(("plain", "plain", "effect"))
            text = f"{self.name}-{self.sent} {words}"
            acknowledged = await self._persist(text, until=end)
            if acknowledged is not None:
                self.sent += 1
                end = until
                await self._read(acknowledged, until=until + PATIENCE_SECONDS)

    async def _persist(self, text: str, *, until: float) -> Frame | None:
        """Send until a server says that it is stored; the same message under the same id."""
        client_id = f"crash-{uuid4()}"
        while monotonic() < until:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS), self._socket() as socket:
                    sent = await _send(self.stand, socket, text, self.thread, client_id)
            except GONE:
                await asyncio.sleep(0.2)
                continue
            if sent["type"] == "ack":
                self.thread = sent["thread"]["id"]
                return sent
            await asyncio.sleep(0.2)
        return None

    async def _read(self, sent: Frame, *, until: float) -> None:
        """Follow the answer over as many sockets as it takes."""
        if sent["run"] is None:
            return
        seen = self.stand.reader(thread=sent["thread"]["id"], run=sent["run"]["id"])
        while monotonic() < until and seen.ended is None:
            with suppress(*GONE):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._follow(seen)
            if seen.ended is None:
                await asyncio.sleep(0.1)
        self.answered += seen.ended == "completed"

    async def _follow(self, seen: Seen) -> None:
        """Go on where the last connection ended, at whichever server is there."""
        if self.key is not None:
            await follow_stream(self.choice.choice(self.servers()), self.key, seen)
            return
        async with self._socket() as socket:
            await follow_socket(socket, seen)

    def _socket(self) -> Any:
        server = self.choice.choice(self.servers())
        acme = self.stand.world.acme
        return chat_socket(server, acme, "alice", session_key=self.session_key)
