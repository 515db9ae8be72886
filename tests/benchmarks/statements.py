"""What a turn costs the database, from PostgreSQL's own log of every statement."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from config.local import embedded
from tests.benchmarks.measures import Bench
from tests.benchmarks.streams import Arrivals, set_pace

LINE = re.compile(r"\[(\d+)\] LOG:  (?:statement|execute [^:]+): (.*)")
# The tenant's setting is sent with the first statement of its transaction.
SETTING = re.compile(r"SELECT set_config\([^)]*\); ")
NOT_COUNTED = re.compile(r"BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|SELECT set_config|SET |RESET ")
WRITES = re.compile(r"\b(?:INSERT|UPDATE|DELETE)\b")
NOT_WAITED_FOR = "SET LOCAL synchronous_commit = off"
BACKGROUND = re.compile(r"procrastinate|chat_process|doors\.")


@dataclass(kw_only=True)
class Cost:
    """Statements, and commits that wait for the disk."""

    statements: float = 0
    commits: float = 0


async def cost_of_a_turn(
    bench: Bench, turns: int, *, assistant: str | None = None, text: str = "Hello"
) -> Cost:
    """Return the cost of one turn, without what the server does when nobody asks."""
    await set_pace(bench.client, bench.stand.upstream, tokens=3, rate=1000.0)
    async with AsyncExitStack() as stack:
        [one] = await bench.open_chats(stack, 1)
        one.assistant, one.text = assistant or one.assistant, text
        await one.turn(Arrivals())
        log = bench.stand.data_dir / "postgres" / "server.log"
        async with _logged(bench.stand.data_dir):
            began = log.stat().st_size
            for _ in range(turns):
                await one.turn(Arrivals())
            await asyncio.sleep(0.2)
            written = _since(log, began)
    found = count(written)
    return Cost(statements=found.statements / turns, commits=found.commits / turns)


def count(lines: list[str]) -> Cost:
    """Count in lines of PostgreSQL's log, each connection's transactions by themselves."""
    cost = Cost()
    open_transactions: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        if not (found := LINE.search(line)):
            continue
        connection, statement = found[1], SETTING.sub("", found[2], count=1)
        if not (NOT_COUNTED.match(statement) or BACKGROUND.search(statement)):
            cost.statements += 1
        told = open_transactions[connection]
        if statement.startswith("COMMIT"):
            cost.commits += _waits_for_disk(told)
            told.clear()
        elif statement.startswith(("BEGIN", "ROLLBACK")) and "TO SAVEPOINT" not in statement:
            told[:] = ["BEGIN"] if statement.startswith("BEGIN") else []
        elif told:
            told.append(statement)
        else:
            cost.commits += _waits_for_disk([statement])
    return cost


def _waits_for_disk(statements: list[str]) -> bool:
    ours = [statement for statement in statements if not BACKGROUND.search(statement)]
    return NOT_WAITED_FOR not in ours and any(WRITES.search(statement) for statement in ours)


def _since(log: Path, offset: int) -> list[str]:
    with log.open("rb") as file:
        file.seek(offset)
        text = file.read().decode()
    # A statement of several lines goes on after a tab.
    return text.replace("\n\t", " ").splitlines()


@asynccontextmanager
async def _logged(data_dir: Path) -> AsyncIterator[None]:
    """Have PostgreSQL log every statement meanwhile."""
    with embedded.running(data_dir) as cluster:
        cluster.execute(["ALTER SYSTEM SET log_statement = 'all'", "SELECT pg_reload_conf()"])
        await asyncio.sleep(0.3)
        try:
            yield
        finally:
            cluster.execute(["ALTER SYSTEM RESET log_statement", "SELECT pg_reload_conf()"])
