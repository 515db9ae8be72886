"""Websocket client for the protocol of docs/websocket.md, for tests against a real server."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

from tenants.db import in_db
from tests.clock import WAIT_SECONDS
from tests.server import Server
from tests.world import Company

Frame = dict[str, Any]


@dataclass(kw_only=True)
class ChatSocket:
    """Open websocket. Frames that are not answers are collected in `events`, in order."""

    connection: ClientConnection
    events: list[Frame] = field(default_factory=list)
    _answers: dict[str, Frame] = field(default_factory=dict)
    _number: int = 0

    async def ask(self, type: str, **fields: Any) -> Frame:  # noqa: A002
        """Send a frame and return its ack or error."""
        self._number += 1
        frame_id = str(self._number)
        await self.connection.send(json.dumps({"type": type, "id": frame_id, **fields}))
        return await self.answer(frame_id)

    async def answer(self, frame_id: str | None) -> Frame:
        """Return the answer to the frame with this id, or to an unreadable frame for None."""
        key = str(frame_id)
        while key not in self._answers:
            await self._read()
        return self._answers.pop(key)

    async def say(
        self, text: str, *, assistant: str, thread: str | None = None, **more: Any
    ) -> Frame:
        """Send a message and return the answer."""
        more.setdefault("client_id", str(uuid.uuid4()))
        return await self.ask(
            "message.create", thread=thread, assistant=assistant, content=text, **more
        )

    async def until(self, wanted: Callable[[Frame], bool]) -> Frame:
        """Return the first received or future event for which `wanted` returns True."""
        checked = 0
        while True:
            while checked < len(self.events):
                checked += 1
                if wanted(self.events[checked - 1]):
                    return self.events[checked - 1]
            await self._read()

    async def until_event(self, name: str) -> Frame:
        """Return the first event with this name."""
        return await self.until(lambda frame: frame["event"] == name)

    async def until_more(self, seen: int) -> Frame:
        """Return the event after the first `seen` events."""
        while len(self.events) <= seen:
            await self._read()
        return self.events[seen]

    async def until_ended(self, run: str) -> Frame:
        """Wait until `run` has ended and return its run object."""
        ends = {"completed", "failed", "cancelled", "incomplete", "expired"}
        frame = await self.until(
            lambda frame: (
                frame["data"].get("object") == "thread.run"
                and frame["data"]["id"] == run
                and frame["data"]["status"] in ends
            )
        )
        data: Frame = frame["data"]
        return data

    def text_of(self, message: str) -> str:
        """Return the text of a message received in deltas."""
        return "".join(
            frame["data"]["delta"]["content"][0]["text"]["value"]
            for frame in self.events
            if frame["event"] == "thread.message.delta" and frame["data"]["id"] == message
        )

    async def _read(self) -> None:
        raw = await asyncio.wait_for(self.connection.recv(), WAIT_SECONDS)
        frame = json.loads(raw)
        if frame["type"] == "event":
            self.events.append(frame)
        else:
            self._answers[str(frame["id"])] = frame


@asynccontextmanager
async def chat_socket(
    server: Server,
    company: Company,
    name: str,
    *,
    membership: object = None,
    session_key: str | None = None,
) -> AsyncIterator[ChatSocket]:
    """Open a websocket like a browser in which `name` is signed in to `company`."""
    session_key = session_key or await in_db(company.session_key, name)
    query = f"?membership={membership}" if membership else ""
    headers = {"Cookie": f"sessionid={session_key}"}
    async with websockets.connect(
        f"ws://127.0.0.1:{server.port}/ws/{query}",
        additional_headers=headers,
        origin=server.url,  # type: ignore[arg-type]
        max_size=None,
        # A test that is starting a process answers no pings, and a busy server answers late.
        open_timeout=WAIT_SECONDS,
        ping_interval=None,
    ) as connection:
        yield ChatSocket(connection=connection)
