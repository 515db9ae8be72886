"""A reader that takes nothing off the wire: its socket is closed, and it resumes where it was."""

from __future__ import annotations

import asyncio
import json
import socket as sockets
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets

from tenants.db import in_db
from tests.clock import WAIT_SECONDS, until
from tests.database import TestDatabase
from tests.model_server import QUICK, make_assistant
from tests.server import Server, serve
from tests.socket_client import chat_socket
from tests.upstream.script import Answer
from tests.upstream.server import ScriptedServer
from tests.world import World

# Far more than the buffers between the processes hold.
WORDS = tuple(f"{number:05}😀{'x' * 20_000} " for number in range(300))
TEXT = "".join(WORDS)
TOO_SLOW = 4008


@pytest.fixture
def impatient(
    database: TestDatabase, upstream_server: ScriptedServer, tmp_path: Path
) -> Iterator[Server]:
    """A server that soon gives up a write, but not where only the machine stands still."""
    environment = {
        **QUICK,
        "OPENAI_BASE_URL": upstream_server.base_url,
        "ATRIUM_SLOW_SECONDS": "8",
    }
    with serve(database, tmp_path, environment=environment, pages=False) as server:
        yield server


async def test_a_reader_that_stands_still_is_let_go_and_resumes(
    world: World, impatient: Server, upstream_server: ScriptedServer
) -> None:
    upstream_server.expect(Answer(say=WORDS, pace=0.005))
    assistant = await in_db(make_assistant, world.acme)
    key = await in_db(world.acme.session_key, "alice")
    async with websockets.connect(
        impatient.socket_url,
        sock=narrow(impatient.port),
        additional_headers={"Cookie": f"sessionid={key}"},
        origin=impatient.url,  # type: ignore[arg-type]
        max_size=None,
        max_queue=1,
        ping_interval=None,
    ) as slow:
        said = {"thread": None, "client_id": "1", "assistant": assistant, "content": "Hello"}
        await slow.send(json.dumps({"type": "message.create", "id": "1", **said}))
        ack = json.loads(await slow.recv())
        run = ack["run"]["id"]
        await until(lambda: "slow_reader_closed" in impatient.logged())
        frames, closed = [], None
        while closed is None:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    frames.append(json.loads(await slow.recv()))
            except websockets.ConnectionClosed as error:
                closed = error.rcvd
        assert closed.code == TOO_SLOW
    deltas = [frame for frame in frames if frame["event"] == "thread.message.delta"]
    have = "".join(f["data"]["delta"]["content"][0]["text"]["value"] for f in deltas)
    message, state = deltas[-1]["data"]["id"], frames[-1]["state"]
    async with chat_socket(impatient, world.acme, "alice") as again:
        cursor = {"run": run, "state": state, "items": [[message, 0, "text", len(have)]]}
        await again.ask("subscribe", thread=ack["thread"]["id"], cursor=cursor)
        await again.until_ended(run)
        done = (await again.until_event("thread.message.completed"))["data"]
        assert done["content"][0]["text"]["value"] == TEXT
        # From memory the rest alone, from the rows the message whole.
        assert have + again.text_of(message) in (TEXT, have)
    assert TEXT.startswith(have) and have != TEXT


def narrow(port: int) -> sockets.socket:
    """Return a connection whose receiving end holds little."""
    made = sockets.socket()
    made.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 8192)
    made.connect(("127.0.0.1", port))
    return made
