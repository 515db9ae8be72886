"""The websocket consumer in this process: what is left of a socket, and of a failed frame."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from asgiref.testing import ApplicationCommunicator
from django.db import OperationalError
from django.utils import timezone

from chat.runs.delivery.hub import LiveRun, hub
from chat.runs.engine import subscribe
from chat.runs.engine.worker import worker
from chat.web import consumers
from tenants.authentication import Principal
from tests.clock import WAIT_SECONDS
from tests.world import World

THREAD = "thread_" + "a" * 24


@pytest.fixture
def alice(world: World, monkeypatch: pytest.MonkeyPatch) -> Principal:
    # Runs of earlier tests leave their logs for a while.
    monkeypatch.setattr(hub, "channels", {})
    return world.acme.principal("alice")


@asynccontextmanager
async def opened(alice: Principal) -> AsyncIterator[Any]:
    """Open a socket of alice's, and leave nothing of its task behind."""
    scope = {
        "type": "websocket",
        "principal": alice,
        "sign_in": "a-session",
        "since": timezone.now(),
        "asserted_membership": None,
    }
    socket: Any = ApplicationCommunicator(  # type: ignore[no-untyped-call]
        consumers.ChatConsumer.as_asgi(), scope
    )
    await socket.send_input({"type": "websocket.connect"})
    assert (await socket.receive_output(WAIT_SECONDS))["type"] == "websocket.accept"
    yield socket
    socket.stop(exceptions=False)


@pytest.fixture
def failing_database(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Let every phase of the consumer fail with the given error."""

    def fail_with(error: Exception) -> None:
        async def fail(*args: object, **kwargs: object) -> None:
            raise error

        monkeypatch.setattr(consumers, "in_db", fail)
        monkeypatch.setattr(subscribe, "in_db", fail)

    return fail_with


async def test_a_database_that_is_away_is_an_error_frame(
    alice: Principal, failing_database: Callable[[Exception], None]
) -> None:
    failing_database(OperationalError("the server closed the connection"))
    async with opened(alice) as socket:
        frame = {"type": "subscribe", "id": "1", "thread": THREAD}
        await socket.send_input({"type": "websocket.receive", "text": json.dumps(frame)})
        answer = json.loads((await socket.receive_output(WAIT_SECONDS))["text"])
        assert (answer["id"], answer["error"]["code"]) == ("1", "unavailable")
        ping = {"type": "ping", "id": "2"}
        await socket.send_input({"type": "websocket.receive", "text": json.dumps(ping)})
        assert json.loads((await socket.receive_output(WAIT_SECONDS))["text"])["type"] == "ack"
        await socket.send_input({"type": "websocket.disconnect", "code": 1000})
        await socket.wait(WAIT_SECONDS)


async def test_nothing_stays_of_a_socket_that_ended_by_an_error(
    alice: Principal, failing_database: Callable[[Exception], None]
) -> None:
    failing_database(RuntimeError("a mistake of ours"))
    async with opened(alice) as socket:
        assert (len(worker.watched), sum(consumers._open_sockets.values())) == (1, 1)
        frame = {"type": "subscribe", "id": "1", "thread": THREAD}
        await socket.send_input({"type": "websocket.receive", "text": json.dumps(frame)})
        with pytest.raises(RuntimeError):
            await socket.wait(WAIT_SECONDS)
    assert (worker.watched, dict(consumers._open_sockets), hub.channels) == (set(), {}, {})


async def test_a_socket_whose_access_ended_takes_no_more_frames(alice: Principal) -> None:
    async with opened(alice) as socket:
        [watched] = worker.watched
        watched.close()
        closed = await socket.receive_output(WAIT_SECONDS)
        assert (closed["type"], closed["code"]) == ("websocket.close", consumers.SIGN_IN_AGAIN)
        ping = {"type": "ping", "id": "1"}
        await socket.send_input({"type": "websocket.receive", "text": json.dumps(ping)})
        assert await socket.receive_nothing(timeout=0.05)
        await socket.send_input({"type": "websocket.disconnect", "code": 1000})
        await socket.wait(WAIT_SECONDS)


async def test_a_token_is_sent_in_the_turn_in_which_it_came() -> None:
    run = LiveRun(uuid4(), THREAD, "run_1", state=0)
    async with pumping(run, room=True) as (sent, _room):
        run.text("msg_1", "now")
        assert text_of(sent.get_nowait()) == "now"


async def test_a_token_that_finds_no_room_is_sent_once_there_is_some() -> None:
    run = LiveRun(uuid4(), THREAD, "run_1", state=0)
    async with pumping(run, room=False) as (sent, room):
        for piece in ("a", "b"):
            run.text("msg_1", piece)
        await asyncio.sleep(0)
        assert sent.empty()
        room.set()
        assert text_of(await asyncio.wait_for(sent.get(), 30)) == "ab"
        run.text("msg_1", "c")
        assert text_of(await asyncio.wait_for(sent.get(), 30)) == "c"


@asynccontextmanager
async def pumping(run: LiveRun, *, room: bool) -> AsyncIterator[tuple[asyncio.Queue[str], Any]]:
    """Read a run's thread as a socket does that has room for a frame, or none."""
    sent: asyncio.Queue[str] = asyncio.Queue()
    has_room = asyncio.Event()

    async def send(message: dict[str, str]) -> None:
        await has_room.wait()
        sent.put_nowait(message["text"])

    if room:
        has_room.set()
    consumer = consumers.ChatConsumer()
    consumer.base_send = send
    reader = hub.subscribe(run.channel.key[0], THREAD)
    pump = asyncio.create_task(consumer._pump(THREAD, reader))
    await asyncio.sleep(0)
    yield sent, has_room
    pump.cancel()
    await asyncio.wait({pump})
    reader.close()
    run.end()
    hub.channels.clear()


def text_of(frame: str) -> str:
    """Return the text that a frame adds."""
    value: str = json.loads(frame)["data"]["delta"]["content"][0]["text"]["value"]
    return value
