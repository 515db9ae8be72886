"""Readers of an answer whose process dies or ends: they end with what is stored, nothing else."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
import pytest
from websockets.exceptions import ConnectionClosed

from tenants.db import in_db
from tests.api.conftest import program_of
from tests.clock import WAIT_SECONDS, until, wait_until
from tests.crash.clients import send
from tests.crash.model import answer_to
from tests.crash.seen import Seen, follow_socket, follow_stream
from tests.crash.stand import Stand
from tests.server import Server, suspended
from tests.socket_client import chat_socket

GONE = (ConnectionClosed, aiohttp.ClientError)
DELTA = "thread.message.delta"
Follow = Callable[..., Coroutine[Any, Any, None]]


async def by_socket(stand: Stand, server: Server, seen: Seen, **more: Any) -> None:
    async with chat_socket(server, stand.world.acme, "alice") as socket:
        await follow_socket(socket, seen, **more)


async def by_stream(stand: Stand, server: Server, seen: Seen, **more: Any) -> None:
    key = (await in_db(program_of, stand.world.acme, "alice")).secret
    await follow_stream(server, key, seen, **more)


TRANSPORTS = pytest.mark.parametrize("follow", [by_socket, by_stream])


async def asked(stand: Stand, server: Server, text: str) -> Seen:
    """Send a message and return a reader of its answer that has nothing yet."""
    async with chat_socket(server, stand.world.acme, "alice") as socket:
        sent = await send(stand, socket, text)
    return stand.reader(thread=sent["thread"]["id"], run=sent["run"]["id"])


@TRANSPORTS
async def test_a_message_that_was_never_stored_is_closed_for_who_saw_it(
    stand: Stand, survivor: Server, held_answer: None, follow: Follow
) -> None:
    with stand.server(ATRIUM_PARTIAL_SECONDS="60") as dying:
        seen = await asked(stand, dying, "lost in the first second")
        await follow(stand, dying, seen, until=DELTA)
        [(lost, (_status, beginning))] = seen.messages.items()
        dying.process.kill()
        dying.process.wait()
    assert beginning
    # Back at once, before another process takes over, and on until the end.
    await follow(stand, survivor, seen)
    assert seen.ended == "completed"
    assert lost not in seen.messages
    whole = ("completed", answer_to("lost in the first second"))
    assert list(seen.messages.values()) == [whole]


@TRANSPORTS
async def test_a_message_that_was_never_stored_is_closed_for_who_comes_back_later(
    stand: Stand, survivor: Server, held_answer: None, follow: Follow
) -> None:
    with stand.server(ATRIUM_PARTIAL_SECONDS="60") as dying:
        seen = await asked(stand, dying, "lost and asked for later")
        await follow(stand, dying, seen, until=DELTA)
        dying.process.kill()
        dying.process.wait()
    await asyncio.to_thread(wait_until, stand.is_settled)
    await follow(stand, survivor, seen)
    assert [status for status, _text in seen.messages.values()] == ["completed"]


@TRANSPORTS
async def test_what_a_process_stored_as_it_ended_is_closed_for_who_saw_its_beginning(
    stand: Stand, survivor: Server, held_answer: None, follow: Follow
) -> None:
    """Nobody takes over for a while: the rows alone tell the rest of the message and its end."""
    with (
        stand.server(ATRIUM_MAX_RUNS="1") as busy,
        stand.server(ATRIUM_PARTIAL_SECONDS="60") as ending,
    ):
        seen = await asked(stand, ending, "ended in mid-answer")
        await follow(stand, ending, seen, until=DELTA)
        [(half, (_status, beginning))] = seen.messages.items()
        stand.model.holds_next = True
        other = await asked(stand, busy, "leaves no room for another")
        await by_socket(stand, busy, other, until=DELTA)
        with suspended(survivor):
            ending.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(ending.process.wait, WAIT_SECONDS)
            await follow(stand, busy, seen, until="thread.message.incomplete")
        status, text = seen.messages[half]
        assert status == "incomplete"
        assert text.startswith(beginning)
        await follow(stand, survivor, seen)
        stand.model.go_on()
        await by_socket(stand, busy, other)
    assert (seen.ended, other.ended) == ("completed", "completed")


@TRANSPORTS
async def test_a_reader_at_a_frozen_process_goes_on_when_that_wakes_up(
    stand: Stand, survivor: Server, held_answer: None, follow: Follow
) -> None:
    with stand.server(ATRIUM_PARTIAL_SECONDS="60") as frozen:
        seen = await asked(stand, frozen, "frozen under a reader")
        reading = asyncio.create_task(follow(stand, frozen, seen))
        await until(lambda: any(text for _status, text in seen.messages.values()))
        with suspended(frozen):
            await asyncio.to_thread(wait_until, stand.is_settled)
        stand.model.go_on()
        await reading
    assert seen.ended == "completed"
    assert "completed" in [status for status, _text in seen.messages.values()]
