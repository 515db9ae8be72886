"""Redis is killed and comes back: nobody loses a word."""

from __future__ import annotations

import asyncio
import re

import aiohttp

from tenants.db import in_db
from tests.api.conftest import program_of
from tests.clock import wait_until
from tests.processes.conftest import Pair
from tests.processes.test_two_processes import TEXT, WORDS, whole_text
from tests.server import Server
from tests.socket_client import chat_socket
from tests.upstream.script import Answer
from tests.world import World

# A process that stands still for seconds takes Redis for lost by itself.
MAX_TRIES = 4


async def test_an_answer_is_read_to_its_end_without_redis(world: World, pair: Pair) -> None:
    pair.upstream.expect(Answer(say=WORDS, pace=0.02, held_after=2))
    async with (
        chat_socket(pair.a, world.acme, "alice") as writer,
        chat_socket(pair.b, world.acme, "alice") as reader,
    ):
        sent = await writer.say("Hello", assistant=pair.assistant)
        await reader.ask("subscribe", thread=sent["thread"]["id"], cursor=None)
        await reader.until_event("thread.message.delta")
        with pair.redis.away():
            pair.upstream.go_on()
            for socket in (reader, writer):
                assert await whole_text(socket, sent["run"]["id"]) == TEXT


async def test_requests_are_served_and_counted_without_redis(world: World, pair: Pair) -> None:
    program = await in_db(program_of, world.acme, "alice")
    headers = {"Authorization": f"Bearer {program.secret}"}
    with pair.redis.away():
        async with chat_socket(pair.a, world.acme, "alice") as socket:
            assert (await socket.ask("ping"))["type"] == "ack"
        async with aiohttp.ClientSession(headers=headers) as client:
            # A minute may end between two of them.
            left = [await requests_left(client, f"{pair.a.url}/v1/models") for _request in range(3)]
        assert -1 in (left[1] - left[0], left[2] - left[1])


async def requests_left(client: aiohttp.ClientSession, url: str) -> int:
    async with client.get(url) as response:
        assert response.status == 200
        return int(response.headers["x-ratelimit-remaining-requests"])


async def test_readers_are_told_to_look_again_once_redis_is_back(world: World, pair: Pair) -> None:
    for server in (pair.a, pair.b):
        await asyncio.to_thread(wait_until_it_says, server, "recovered")
    pair.upstream.expect(say="Hello")
    pair.upstream.expect(say=TEXT)
    async with (
        chat_socket(pair.a, world.acme, "alice") as writer,
        chat_socket(pair.b, world.acme, "alice") as reader,
    ):
        sent = await writer.say("Hello", assistant=pair.assistant)
        thread = sent["thread"]["id"]
        await writer.until_ended(sent["run"]["id"])
        await reader.ask("subscribe", thread=thread, cursor=None)
        with pair.redis.away():
            for server in (pair.a, pair.b):
                await asyncio.to_thread(wait_until_it_says, server, "lost")
        told = await reader.until_event("atrium.thread.changed")
        assert told["data"] == {"id": thread}
        # Until its process hears Redis as well, a reader is told to look again, and no more.
        await asyncio.to_thread(wait_until_it_says, pair.a, "recovered")
        again = await writer.say("Go on", assistant=pair.assistant, thread=thread)
        for socket in (writer, reader):
            await socket.until_ended(again["run"]["id"])
        message = (await reader.until_event("thread.message.completed"))["data"]
        assert message["content"][0]["text"]["value"] == TEXT
        # By then it is forwarded again, or still read from the rows, which have it whole.
        assert reader.text_of(message["id"]) in (TEXT, "")


async def test_readers_are_told_to_look_again_after_a_loss_of_a_moment(
    world: World, pair: Pair
) -> None:
    for server in (pair.a, pair.b):
        await asyncio.to_thread(wait_until_it_says, server, "recovered")
    pair.upstream.expect(say="Hello")
    async with (
        chat_socket(pair.a, world.acme, "alice") as writer,
        chat_socket(pair.b, world.acme, "alice") as reader,
    ):
        sent = await writer.say("Hello", assistant=pair.assistant)
        thread = sent["thread"]["id"]
        await writer.until_ended(sent["run"]["id"])
        await reader.ask("subscribe", thread=thread, cursor=None)
        said: list[str] = []
        for _try in range(MAX_TRIES):
            known, seen = len(said_of_redis(pair.b)), len(reader.events)
            pair.redis.cut_off_listeners()
            told = await reader.until_more(seen)
            assert (told["event"], told["data"]) == ("atrium.thread.changed", {"id": thread})
            said = said_of_redis(pair.b)[known:]
            if said == ["recovered"]:
                break
    assert said == ["recovered"]


def wait_until_it_says(server: Server, word: str) -> None:
    """Wait until the last that a process logged of Redis is that it is `away`, or `heard`."""
    wait_until(lambda: said_of_redis(server)[-1:] == [word])


def said_of_redis(server: Server) -> list[str]:
    return re.findall(r"channel_layer_(lost|recovered)", server.logged())
