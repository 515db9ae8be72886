"""What a reader saw of a run, over however many connections, to be compared with what is stored."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.clock import WAIT_SECONDS
from tests.server import Server
from tests.socket_client import ChatSocket

ENDS = frozenset(
    f"thread.run.{name}" for name in ("completed", "failed", "cancelled", "incomplete", "expired")
)
Messages = dict[str, tuple[str, str]]


@dataclass(kw_only=True)
class Seen:
    """One reader of one run. `messages` are status and text by id; `wrong` is what cannot be.

    `replaceable` are the messages whose text was cut off with an earlier connection and of which
    this one brought no text: by docs/websocket.md their end replaces them, once the run is over.
    """

    thread: str
    run: str
    state: int = 0
    event_id: str | None = None
    ended: str | None = None
    messages: Messages = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    replaceable: set[str] = field(default_factory=set)

    def begin_connection(self) -> None:
        """Note that what comes next comes over another connection."""
        self.replaceable = {name for name, told in self.messages.items() if told[1]}

    def cursor(self) -> dict[str, Any]:
        """Return where this reader is, as the websocket takes it."""
        items = [[name, 0, "text", len(text)] for name, (_status, text) in self.messages.items()]
        return {"run": self.run, "state": self.state, "items": items}

    def take(self, event: str, data: Any) -> None:
        """Apply one event."""
        if event == "thread.message.delta":
            self._grow(data)
        elif event.startswith("thread.message.") and data["role"] == "assistant":
            self._message(data)
        elif event in ENDS and data["id"] == self.run:
            self.ended = data["status"]

    def _grow(self, data: Any) -> None:
        status, text = self.messages.get(data["id"], ("", ""))
        if status != "in_progress":
            self.wrong.append(f"text of {data['id']}, which is {status or 'unknown'}")
        self.replaceable.discard(data["id"])
        more = "".join(part["text"]["value"] for part in data["delta"]["content"])
        self.messages[data["id"]] = (status, text + more)

    def _message(self, message: Any) -> None:
        name, status = message["id"], message["status"]
        known, text = self.messages.get(name, ("", ""))
        if message["atrium"].get("lost"):
            self.messages.pop(name, None)
        elif status == "in_progress":
            self.messages.setdefault(name, (status, text))
        else:
            whole = "".join(part["text"]["value"] for part in message["content"])
            is_right = whole.startswith(text) if name in self.replaceable else text == whole
            if known == "in_progress" and text and status == "completed" and not is_right:
                self.wrong.append(f"{name} is completed with {whole!r} after {text!r}")
            self.messages[name] = (status, whole)

    def breaches(self, stored: Mapping[str, tuple[str, str]]) -> list[str]:
        """Return what this reader has that is not stored, and the reverse, once the run ended."""
        found = [f"I9 {self.run}: {words}" for words in self.wrong]
        for name, told in self.messages.items():
            if stored.get(name) != told:
                found.append(f"I9 {self.run}: {name} is seen as {told}, stored {stored.get(name)}")
        missed = [n for n, (status, _text) in stored.items() if status == "completed"]
        return found + [f"I9 {self.run}: {n} is not seen" for n in missed if n not in self.messages]


async def follow_socket(socket: ChatSocket, seen: Seen, *, until: str | None = None) -> None:
    """Go on over this socket, to the run's end or to the first event of that name."""
    taken = len(socket.events)
    seen.begin_connection()
    await socket.ask("subscribe", thread=seen.thread, cursor=seen.cursor())
    while seen.ended is None:
        frame = await socket.until_more(taken)
        taken += 1
        if frame["run"] != seen.run:
            continue
        seen.state = frame["state"]
        seen.take(frame["event"], frame["data"])
        if frame["event"] == until:
            return


async def follow_stream(server: Server, key: str, seen: Seen, *, until: str | None = None) -> None:
    """Go on over a stream of events, to the run's end or to the first event of that name."""
    async for event_id, event, data in stream(server, key, seen):
        if event == "error":
            return
        if event_id:
            seen.event_id = event_id
        seen.take(event, data)
        if event == until or seen.ended:
            return


async def stream(server: Server, key: str, seen: Seen) -> AsyncIterator[tuple[str, str, Any]]:
    """Yield id, name and data of what the server tells from where the reader is."""
    headers = {"Authorization": f"Bearer {key}", "OpenAI-Beta": "assistants=v2"}
    if seen.event_id is not None:
        headers["Last-Event-ID"] = seen.event_id
    url = f"{server.url}/v1/threads/{seen.thread}/runs/{seen.run}/events"
    timeout = aiohttp.ClientTimeout(total=None, sock_read=WAIT_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout, read_bufsize=2**22) as session,
        session.get(url, headers=headers) as response,
    ):
        if response.status != 200:
            raise ConnectionError(f"{response.status} {await response.text()}")
        fields: dict[str, str] = {}
        async for line in response.content:
            name, _colon, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            elif "event" in fields:
                if fields["event"] != "done":
                    yield fields.get("id", ""), fields["event"], json.loads(fields["data"])
                fields = {}
