"""What is measured, one round at a time. Times in milliseconds, CPU in microseconds a token."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

import aiohttp

from tests.benchmarks.stand import Atrium, Stand
from tests.benchmarks.streams import Arrivals, Chat, chat, plain_stream, relayed_stream, set_pace
from tests.benchmarks.usage import Watched

RATE = 50.0
ON_TIME_MS = 80.0
AT_ONCE = 20
FILLING = 200  # sockets that use up the memory which the start left free
Stream = Callable[[Arrivals], Awaitable[Any]]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Everything a measurement needs."""

    stand: Stand
    atrium: Atrium
    cookie: str
    client: aiohttp.ClientSession

    async def open_chats(self, stack: AsyncExitStack, count: int) -> list[Chat]:
        """Open that many sockets, which `stack` closes."""
        chats: list[Chat] = []
        while len(chats) < count:
            opened = [
                stack.enter_async_context(
                    chat(self.client, self.atrium.url, self.cookie, self.stand.assistant)
                )
                for _ in range(min(AT_ONCE, count - len(chats)))
            ]
            chats += await asyncio.gather(*opened)
        return chats


@dataclass(frozen=True, kw_only=True)
class Load:
    """What many streams at once came to; `flowing_ms` are the delays while all of them flowed.

    `grown_kib` is by how much the process's memory was larger then, for each stream.
    """

    delays_ms: list[float]
    flowing_ms: list[float]
    faults: Counter[str]
    cpu_us: float
    grown_kib: float

    @property
    def on_time(self) -> float:
        """The part of the tokens that came in time, from 0 to 1."""
        return sum(delay <= ON_TIME_MS for delay in self.delays_ms) / len(self.delays_ms)


def quantile(values: Sequence[float], part: float) -> float:
    """Return the value below which `part` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


async def first_tokens(bench: Bench, turns: int) -> dict[str, list[float]]:
    """Times to the first token, through Atrium and straight, by turns."""
    await set_pace(bench.client, bench.stand.upstream, tokens=3, rate=1000.0)
    direct = f"{bench.stand.upstream}/v1/responses"
    times: dict[str, list[float]] = {"atrium": [], "direct": []}
    async with AsyncExitStack() as stack:
        [one] = await bench.open_chats(stack, 1)
        await one.turn(Arrivals())  # makes the thread
        await plain_stream(bench.client, direct, Arrivals())
        for _ in range(turns):
            times["direct"].append(1000 * await plain_stream(bench.client, direct, Arrivals()))
            times["atrium"].append(1000 * await one.turn(Arrivals()))
    return times


async def first_turns(bench: Bench) -> float:
    """Time to the first token of the server's first turn, over the one of a warm turn."""
    await set_pace(bench.client, bench.stand.upstream, tokens=3, rate=1000.0)
    async with AsyncExitStack() as stack:
        [one] = await bench.open_chats(stack, 1)
        first = await one.turn(Arrivals())
        warm = [await one.turn(Arrivals()) for _ in range(9)]
    return first / median(warm)


async def load_on_atrium(bench: Bench, *, streams: int, seconds: float) -> Load:
    """Many chats at once, each with its own socket and thread."""
    await set_pace(bench.client, bench.stand.upstream, tokens=1, rate=RATE)
    async with AsyncExitStack() as stack:
        chats = await bench.open_chats(stack, streams)
        for start in range(0, streams, AT_ONCE):
            begun = chats[start : start + AT_ONCE]
            await asyncio.gather(*(item.turn(Arrivals()) for item in begun))  # makes the threads
        turns = [chat.turn for chat in chats]
        return await load(bench, turns, bench.atrium.process, seconds)


async def load_on_relay(bench: Bench, *, streams: int, seconds: float) -> Load:
    """As many streams through the relay."""

    async def read(arrivals: Arrivals) -> None:
        await relayed_stream(bench.client, bench.stand.relay, arrivals)

    return await load(bench, [read] * streams, bench.stand.relay_process, seconds)


async def load(bench: Bench, streams: Sequence[Stream], process: Watched, seconds: float) -> Load:
    """Begin the streams within a second, and read each to its end."""
    tokens = int(seconds * RATE)
    await set_pace(bench.client, bench.stand.upstream, tokens=tokens, rate=RATE)
    arrivals = [Arrivals() for _ in streams]

    async def begin(number: int) -> None:
        await asyncio.sleep(number / len(streams))
        await streams[number](arrivals[number])

    def so_far() -> tuple[list[int], float]:
        return [len(arrival.numbers) for arrival in arrivals], process.cpu_seconds()

    memory = process.memory_bytes()
    nothing = so_far()
    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(begin(number)) for number in range(len(streams))]
        # CPU is read while every stream flows: what a turn costs at its two ends is no relaying.
        for arrival in arrivals:
            await arrival.flows.wait()
        before, cpu_before = so_far()
        await asyncio.wait(readers, return_when=asyncio.FIRST_COMPLETED)
        after, cpu_after = so_far()
        grown = process.memory_bytes() - memory
    if sum(after) == sum(before):
        # Overloaded: the first stream ended before the last began. Then the ends count too.
        (before, cpu_before), (after, cpu_after) = nothing, so_far()
    return Load(
        delays_ms=[delay / 1e6 for arrival in arrivals for delay in arrival.delays],
        flowing_ms=[
            delay / 1e6
            for one, first, last in zip(arrivals, before, after, strict=True)
            for delay in one.delays[first:last]
        ],
        faults=sum((arrival.faults(tokens) for arrival in arrivals), Counter()),
        cpu_us=1e6 * (cpu_after - cpu_before) / (sum(after) - sum(before)),
        grown_kib=grown / 1024 / len(streams),
    )


async def idle_socket_kib(bench: Bench, sockets: int) -> float:
    """Memory of one socket on which nothing happens, in KiB."""
    async with AsyncExitStack() as stack:
        await bench.open_chats(stack, FILLING)
        before = bench.atrium.process.memory_bytes()
        await bench.open_chats(stack, sockets)
        await asyncio.sleep(1)
        after = bench.atrium.process.memory_bytes()
    return float(after - before) / sockets / 1024
