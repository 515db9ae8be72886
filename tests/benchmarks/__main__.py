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

from tests.benchmarks import measures, passages, reads, rows, searches
from tests.benchmarks.flood import first_tokens_beside_a_flood
from tests.benchmarks.measures import Bench, Load, quantile
from tests.benchmarks.program import load_on_api
from tests.benchmarks.report import Figures, write_section
from tests.benchmarks.stand import Atrium, Stand, atrium, sign_in, stand
from tests.benchmarks.statements import cost_of_a_turn

MAX_CHATS = 200
API_STREAMS = 50
COUNTED_TURNS = 10


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def arguments() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description="Measure Atrium on this machine.")
    parser.add_argument("--python", default=sys.executable, help="of the server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=40, help="of one chat, in each round")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each load")
    parser.add_argument("--chats", type=int, nargs="+", default=[50, 100], choices=(50, 100))
    parser.add_argument("--flood", type=int, default=500, help="runs of another company")
    parser.add_argument("--sockets", type=int, default=500, help="idle ones")
    parser.add_argument("--starts", type=int, default=3, help="of the server")
    parser.add_argument("--json", type=Path, default=Path(".data/bench.json"))
    parser.add_argument("--page", type=Path, help="a page whose measured section is written anew")
    return parser.parse_args()


def main() -> None:
    """Measure, print the table, write the JSON."""
    given = arguments()
    load = os.getloadavg()
    figures = Figures()
    with stand() as place:
        for number in range(given.starts):
            say(f"Start {number + 1} of {given.starts}…")
            with atrium(given.python) as server:
                figures.add("start to first answer", server.start_seconds)
                fresh = server.process.memory_bytes() / 1e6
                figures.add("server process, fresh", fresh)
                uvloop.run(measure_start(place, server, figures))
        with atrium(given.python) as server:
            uvloop.run(measure(place, server, figures, given))
        say("A hundred thousand passages, and as many of a neighbour…")
        for name, value in searches.measured(passages.fill(place)).items():
            figures.add(name, value)
    say(f"\nLoad of the machine before: {load[0]:.1f}, {os.cpu_count()} processors.\n")
    say(figures.table())
    options = {name: str(value) for name, value in vars(given).items()}
    figures.save(given.json, options=options, load=load)
    say(f"\nWritten to {given.json}")
    if given.page:
        write_section(given.page, given.json, figures)


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
        say(f"{MAX_CHATS} chats, and {API_STREAMS} streams of the API…")
        await measure_more(bench, figures, given.seconds)
        await measure_statements(bench, figures)
        say("A million messages…")
        await measure_reads(bench, figures, given.turns)
        # Last: its runs go on for a while.
        say(f"A neighbour's chats beside {given.flood} runs…")
        await measure_flood(bench, figures, given)


async def measure_more(bench: Bench, figures: Figures, seconds: float) -> None:
    """What is measured once: more chats than there should be, and the API beside the sockets."""
    most = await measures.load_on_atrium(bench, streams=MAX_CHATS, seconds=seconds)
    figures.add("tokens lost, doubled or reordered", most.faults.total())
    figures.add("200 chats, on time", 100 * most.on_time)
    sockets = await measures.load_on_atrium(bench, streams=API_STREAMS, seconds=seconds)
    api = await load_on_api(bench, streams=API_STREAMS, seconds=seconds)
    figures.add("tokens lost, doubled or reordered", api.faults.total())
    figures.add("50 streams of the API, CPU over the sockets'", api.cpu_us / sockets.cpu_us)


async def measure_flood(bench: Bench, figures: Figures, given: argparse.Namespace) -> None:
    """What a flood of one company's runs costs another company's first token."""
    times = await first_tokens_beside_a_flood(bench, runs=given.flood, turns=given.turns)
    figures.add("first token beside another company's flood, p50", median(times))
    figures.add("first token beside another company's flood, p95", quantile(times, 0.95))


async def measure_statements(bench: Bench, figures: Figures) -> None:
    """A plain turn, and by how much one with a tool round costs more."""
    plain = await cost_of_a_turn(bench, COUNTED_TURNS)
    figures.add("statements of a turn", plain.statements)
    figures.add("durable commits of a turn", plain.commits)
    rows.use_demonstration(bench.stand, bench.stand.tools)
    tools = bench.stand.tools
    without = await cost_of_a_turn(bench, COUNTED_TURNS, assistant=tools)
    calling = await cost_of_a_turn(bench, COUNTED_TURNS, assistant=tools, text="list my orders")
    figures.add("statements of a tool round", calling.statements - without.statements)
    figures.add("durable commits of a tool round", calling.commits - without.commits)


async def measure_reads(bench: Bench, figures: Figures, turns: int) -> None:
    """Reads among a million messages, and turns in a thread of ten thousand."""
    many = rows.fill(bench.stand, await reads.talk(bench))
    times = await reads.pages(bench, many)
    for name, title in {
        "thread list": "thread list at 1,000,000 messages, p50",
        "history page": "history page at 1,000,000 messages, p50",
        "API list of messages": "API list of messages at 1,000,000, p50",
        "API list of runs": "API list of runs at 1,000,000 messages, p50",
        "API run": "API run at 1,000,000 messages, p50",
    }.items():
        figures.add(title, median(times[name]))
    ratio = await reads.endless(bench, many, turns)
    figures.add("10,000 messages over 10, first token", ratio)


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
        delays = {"p50": 0.5, "p99": 0.99}
        for name, part in delays.items():
            here, there = quantile(ours.delays_ms, part), quantile(relay.delays_ms, part)
            figures.add(f"50 chats, delay {name}", here)
            figures.add(f"50 chats, relay's delay {name}", there)
            figures.add(f"50 chats, added delay {name}", here - there)
        figures.add("50 chats, delay p99 while all flow", quantile(ours.flowing_ms, 0.99))
    else:
        figures.add("100 chats, CPU over the relay's", ours.cpu_us / relay.cpu_us)
        figures.add("100 chats, on time", 100 * ours.on_time)
        figures.add("active stream", ours.grown_kib)


if __name__ == "__main__":
    main()
