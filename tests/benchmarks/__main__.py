"""`make bench`: Atrium as people run it beside a bare relay, in rounds that take turns.

make bench ARGS="--rounds 5 --seconds 20"
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path
from statistics import median

import aiohttp
import uvloop

from tests.benchmarks import measures
from tests.benchmarks.measures import Bench, Load, quantile
from tests.benchmarks.report import Figures
from tests.benchmarks.stand import Atrium, Stand, atrium, sign_in, stand
from tests.benchmarks.statements import cost_of_a_turn


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def arguments() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description="Measure Atrium on this machine.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=40, help="of one chat, in each round")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    parser.add_argument("--chats", type=int, nargs="+", default=[50, 100], choices=(50, 100))
    parser.add_argument("--sockets", type=int, default=500, help="idle ones")
    parser.add_argument("--starts", type=int, default=3, help="of the server")
    parser.add_argument("--json", type=Path, default=Path(".data/bench.json"))
    return parser.parse_args()


def main() -> None:
    """Measure, print the table, write the JSON."""
    given = arguments()
    load = os.getloadavg()
    figures = Figures()
    with stand() as place:
        for number in range(given.starts):
            say(f"Start {number + 1} of {given.starts}…")
            with atrium() as server:
                figures.add("start to first answer", server.start_seconds)
                fresh = server.process.memory_bytes() / 1e6
                figures.add("server process, fresh", fresh)
                uvloop.run(measure_start(place, server, figures))
        with atrium() as server:
            uvloop.run(measure(place, server, figures, given))
    say(f"\nLoad of the machine before: {load[0]:.1f}, {os.cpu_count()} processors.\n")
    say(figures.table())
    options = {name: str(value) for name, value in vars(given).items()}
    figures.save(given.json, options=options, load=load)
    say(f"\nWritten to {given.json}")


async def measure_start(place: Stand, server: Atrium, figures: Figures) -> None:
    """The first turn after a start."""
    async with client() as http:
        cookie = await sign_in(server.url)
        bench = Bench(stand=place, atrium=server, cookie=cookie, client=http)
        figures.add("first turn over a warm one", await measures.first_turns(bench))


async def measure(
    place: Stand, server: Atrium, figures: Figures, given: argparse.Namespace
) -> None:
    """Everything else, on one warm server."""
    async with client() as http:
        cookie = await sign_in(server.url)
        bench = Bench(stand=place, atrium=server, cookie=cookie, client=http)
        await measures.first_turns(bench)
        figures.add("idle socket", await measures.idle_socket_kib(bench, given.sockets))
        for number in range(given.rounds):
            say(f"Round {number + 1} of {given.rounds}…")
            note_first_tokens(figures, await measures.first_tokens(bench, given.turns))
            for streams in given.chats:
                relay = await measures.load_on_relay(bench, streams=streams, seconds=given.seconds)
                ours = await measures.load_on_atrium(bench, streams=streams, seconds=given.seconds)
                note_load(figures, streams, ours, relay)
        figures.add("server process, after the load", server.process.memory_bytes() / 1e6)
        cost = await cost_of_a_turn(bench, 10)
        figures.add("statements of a turn", cost.statements)
        figures.add("durable commits of a turn", cost.commits)


def client() -> aiohttp.ClientSession:
    """Return a client with as many connections as asked for."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    )


def note_first_tokens(figures: Figures, times: dict[str, list[float]]) -> None:
    """Add a round of first tokens."""
    for name, label in (("direct", "direct"), ("atrium", "Atrium")):
        figures.add(f"first token, {label}, p50", median(times[name]))
        figures.add(f"first token, {label}, p99", quantile(times[name], 0.99))
    figures.add("first token, added, p50", median(times["atrium"]) - median(times["direct"]))


def note_load(figures: Figures, streams: int, ours: Load, relay: Load) -> None:
    """Add a round of many streams."""
    faults: Counter[str] = ours.faults
    figures.add("tokens lost, doubled or reordered", faults.total())
    figures.add(f"{streams} chats, CPU a token", ours.cpu_us)
    figures.add(f"{streams} streams, relay's CPU a token", relay.cpu_us)
    if streams == 50:
        figures.add("50 chats, delay p50", median(ours.delays_ms))
        figures.add("50 chats, delay p99", quantile(ours.delays_ms, 0.99))
        figures.add("50 chats, delay p99 while all flow", quantile(ours.flowing_ms, 0.99))
        figures.add("50 chats, relay's delay p50", median(relay.delays_ms))
        figures.add("50 chats, relay's delay p99", quantile(relay.delays_ms, 0.99))
    else:
        figures.add("100 chats, CPU over the relay's", ours.cpu_us / relay.cpu_us)
        figures.add("100 chats, on time", 100 * ours.on_time)


if __name__ == "__main__":
    main()
