"""One company's flood of runs beside another company's chats: how long those wait."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

from tests.benchmarks.measures import RATE, Bench
from tests.benchmarks.stand import NEIGHBOUR_EMAIL, sign_in
from tests.benchmarks.streams import Arrivals, set_pace

PAUSE_SECONDS = 0.1
# A flood that has not ended by then is broken off.
FLOOD_SECONDS = 600


async def first_tokens_beside_a_flood(
    bench: Bench, *, runs: int, turns: int, seconds: float
) -> list[float]:
    """Return milliseconds to the first token of a neighbour's turns while `runs` are started.

    Every answer takes `seconds`. The neighbour's turns begin one after the other, each in a chat
    of its own, from the moment at which all of the flood is sent at once.
    """
    cookie = await sign_in(bench.atrium.url, NEIGHBOUR_EMAIL)
    stand = replace(bench.stand, assistant=bench.stand.neighbour_assistant)
    neighbour = replace(bench, stand=stand, cookie=cookie)
    await set_pace(bench.client, bench.stand.upstream, tokens=int(seconds * RATE), rate=RATE)
    async with AsyncExitStack() as stack:
        flooding = await bench.open_chats(stack, runs)
        others = await neighbour.open_chats(stack, turns)
        async with asyncio.timeout(FLOOD_SECONDS), asyncio.TaskGroup() as group:
            for chat in flooding:
                group.create_task(chat.turn(Arrivals()))
            measured = []
            for chat in others:
                await asyncio.sleep(PAUSE_SECONDS)
                measured.append(group.create_task(chat.turn(Arrivals())))
    return [1000 * turn.result() for turn in measured]
