"""Readers of streams: each notes when which token came, without decoding more than it must."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp

TOKEN = re.compile(rb"(\d+)@(\d+) ")
DELTA, ENDED = b'"thread.message.delta"', b'"thread.run.completed"'
FAILED = re.compile(rb'"event": ?"thread\.run\.(failed|cancelled|expired|incomplete)"')
WAIT_SECONDS = 120
ASK = {"model": "test-model", "input": "Hello", "stream": True, "store": False}


@dataclass
class Arrivals:
    """The tokens of one stream: their numbers in order of arrival, and each one's delay in ns."""

    numbers: list[int] = field(default_factory=list)
    delays: list[int] = field(default_factory=list)
    flows: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, data: bytes) -> None:
        """Note the tokens in `data`, which came just now."""
        now = time.monotonic_ns()
        for number, sent in TOKEN.findall(data):
            self.numbers.append(int(number))
            self.delays.append(now - int(sent))
        if self.numbers:
            self.flows.set()

    def faults(self, expected: int) -> Counter[str]:
        """Count the tokens that are missing, came twice, or came before an earlier one."""
        seen = Counter(self.numbers)
        order = zip(self.numbers, self.numbers[1:], strict=False)
        return Counter(
            lost=sum(number not in seen for number in range(expected)),
            doubled=sum(count - 1 for count in seen.values()),
            reordered=sum(later < earlier for earlier, later in order),
        )


@dataclass(kw_only=True)
class Chat:
    """One open websocket with a thread of its own after the first message."""

    socket: aiohttp.ClientWebSocketResponse
    assistant: str
    thread: str | None = None
    text: str = "Hello"

    async def turn(self, arrivals: Arrivals) -> float:
        """Send a message, read the answer to its end; return seconds to the first token."""
        message = {
            "type": "message.create",
            "id": "1",
            "thread": self.thread,
            "client_id": str(uuid4()),
            "assistant": self.assistant,
            "content": self.text,
        }
        began = time.monotonic()
        await self.socket.send_str(json.dumps(message))
        first = 0.0
        while True:
            data = (await self._read()).encode()
            if DELTA in data:
                first = first or time.monotonic() - began
                arrivals.take(data)
            elif ENDED in data:
                return first
            elif b'"ack"' in data:
                self.thread = json.loads(data)["thread"]["id"]
            elif b'"type":"error"' in data or FAILED.search(data):
                raise RuntimeError(data.decode())

    async def _read(self) -> str:
        return await asyncio.wait_for(self.socket.receive_str(), WAIT_SECONDS)


@asynccontextmanager
async def chat(
    client: aiohttp.ClientSession, url: str, cookie: str, assistant: str
) -> AsyncIterator[Chat]:
    """Open a socket as the page does."""
    headers = {"Cookie": cookie, "Origin": url}
    async with client.ws_connect(f"{url}/ws/", headers=headers, max_msg_size=0) as socket:
        yield Chat(socket=socket, assistant=assistant)


async def plain_stream(client: aiohttp.ClientSession, url: str, arrivals: Arrivals) -> float:
    """Read an event stream to its end; return seconds to the first token."""
    began = time.monotonic()
    first = 0.0
    rest = b""
    async with client.post(url, json=ASK) as answer:
        answer.raise_for_status()
        async for chunk in answer.content.iter_any():
            whole, _, rest = (rest + chunk).rpartition(b"\n")
            arrivals.take(whole)
            if arrivals.numbers and not first:
                first = time.monotonic() - began
    return first


async def relayed_stream(client: aiohttp.ClientSession, url: str, arrivals: Arrivals) -> None:
    """Read an event stream that comes over a websocket, to its end."""
    rest = b""
    async with client.ws_connect(url, max_msg_size=0) as socket:
        await socket.send_str(json.dumps(ASK))
        async for message in socket:
            whole, _, rest = (rest + message.data.encode()).rpartition(b"\n")
            arrivals.take(whole)


async def set_pace(client: aiohttp.ClientSession, upstream: str, **pace: Any) -> None:
    """Tell the upstream what to answer from now on: `tokens`, `rate`, `first`."""
    async with client.post(f"{upstream}/control/free", json=pace) as answer:
        answer.raise_for_status()
