"""Pages and lists among a million messages, and turns in a short and an endless thread."""

from __future__ import annotations

import random
import time
from contextlib import AsyncExitStack
from statistics import median
from typing import Any

from tests.benchmarks.measures import Bench
from tests.benchmarks.program import HEADERS
from tests.benchmarks.rows import Many, Talk
from tests.benchmarks.streams import Arrivals, set_pace

ASKED = 60


async def talk(bench: Bench) -> Talk:
    """Really send a message, and return the ids of what it made."""
    await set_pace(bench.client, bench.stand.upstream, tokens=3, rate=1000.0)
    async with AsyncExitStack() as stack:
        [one] = await bench.open_chats(stack, 1)
        await one.turn(Arrivals())
        thread = str(one.thread)
    shown = await _get(bench, f"/page/threads/{thread}/messages")
    message, answer = shown["data"]
    [(run, [step])] = shown["steps"].items()
    return Talk(thread=thread, message=message["id"], answer=answer["id"], run=run, step=step["id"])


async def pages(bench: Bench, many: Many) -> dict[str, list[float]]:
    """Times in milliseconds of the page's and the API's reads, anywhere among the rows."""
    times: dict[str, list[float]] = {}
    picked = random.Random(7)
    for _ in range(ASKED):
        place = picked.randrange(len(many.threads))
        thread, run = many.threads[place], many.runs[place]
        for name, path in {
            "thread list": f"/page/threads?after={thread}",
            "history page": f"/page/threads/{thread}/messages",
            "API list of messages": f"/v1/threads/{thread}/messages?limit=20",
            "API list of runs": f"/v1/threads/{thread}/runs?limit=20",
            "API run": f"/v1/threads/{thread}/runs/{run}",
        }.items():
            began = time.monotonic()
            await _get(bench, path)
            times.setdefault(name, []).append(1000 * (time.monotonic() - began))
    return times


async def endless(bench: Bench, many: Many, turns: int) -> float:
    """Time to the first token in a thread of 10,000 messages over one of 10, turn about."""
    await set_pace(bench.client, bench.stand.upstream, tokens=3, rate=1000.0)
    times: dict[str, list[float]] = {many.short: [], many.long: []}
    async with AsyncExitStack() as stack:
        for one, thread in zip(await bench.open_chats(stack, 2), times, strict=True):
            one.thread = thread
            await one.turn(Arrivals())
        for _ in range(turns):
            for one, thread in zip(await bench.open_chats(stack, 2), times, strict=True):
                one.thread = thread
                times[thread].append(await one.turn(Arrivals()))
    return median(times[many.long]) / median(times[many.short])


async def _get(bench: Bench, path: str) -> Any:
    as_program = HEADERS | {"Authorization": f"Bearer {bench.stand.key}"}
    headers = as_program if path.startswith("/v1/") else {"Cookie": bench.cookie}
    async with bench.client.get(f"{bench.atrium.url}{path}", headers=headers) as answer:
        answer.raise_for_status()
        return await answer.json()
