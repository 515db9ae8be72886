"""One company's flood of runs beside another company's chats: how long those wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import aiohttp

from tests.benchmarks.measures import RATE, Bench
from tests.benchmarks.program import start_run
from tests.benchmarks.stand import NEIGHBOUR_EMAIL, sign_in
from tests.benchmarks.streams import Arrivals, set_pace

PAUSE_SECONDS = 0.1
ANSWER_SECONDS = 0.5
# As many as one address may open, see ATRIUM_CONNECTIONS_PER_ADDRESS.
CONNECTIONS = 100
# A flood that has not ended by then is broken off.
FLOOD_SECONDS = 600


async def first_tokens_beside_a_flood(bench: Bench, *, runs: int, turns: int) -> list[float]:
    """Return milliseconds to the first token of a neighbour's turns while `runs` are started.

    A program starts the runs over the API, on as many connections as its address may have, each
    the next run as soon as the one before is accepted. The neighbour's turns begin one after the
    other, each in a chat of its own, while runs are still being started.
    """
    cookie = await sign_in(bench.atrium.url, NEIGHBOUR_EMAIL)
    stand = replace(bench.stand, assistant=bench.stand.neighbour_assistant)
    neighbour = replace(bench, stand=stand, cookie=cookie)
    tokens = int(ANSWER_SECONDS * RATE)
    await set_pace(bench.client, bench.stand.upstream, tokens=tokens, rate=RATE)
    async with AsyncExitStack() as stack:
        others = await neighbour.open_chats(stack, turns)
        connector = aiohttp.TCPConnector(limit=CONNECTIONS)
        client = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        flooding = replace(bench, client=client)
        numbers = iter(range(runs))
        async with asyncio.timeout(FLOOD_SECONDS), asyncio.TaskGroup() as group:
            for _connection in range(CONNECTIONS):
                group.create_task(_start_runs(flooding, numbers))
            measured: list[asyncio.Task[Any]] = []
            for chat in others:
                await asyncio.sleep(PAUSE_SECONDS)
                measured.append(group.create_task(chat.turn(Arrivals())))
    return [1000 * turn.result() for turn in measured]


async def _start_runs(bench: Bench, numbers: Iterator[int]) -> None:
    for _number in numbers:
        await start_run(bench)
