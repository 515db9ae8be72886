"""Processes and the database die at random, and are started again, while people chat."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

import psycopg

from config.local.postgres_programs import EmbeddedError
from tenants.db import in_db
from tests.api.conftest import program_of
from tests.clock import wait_until
from tests.crash.clients import Person
from tests.crash.stand import Stand
from tests.server import Server

PEOPLE = 6
LAPSE_SECONDS = 2.0
TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'atrium_app' "
    "ORDER BY random() LIMIT 3"
)


class Slot:
    """A process that is started again when it died."""

    def __init__(self, name: str, start: Callable[[], AbstractContextManager[object]]) -> None:
        self.name, self._start = name, start
        self._stack = ExitStack()
        self.server: Server | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, after whatever is left of it was cleared away."""
        self._stack.close()
        started = self._stack.enter_context(self._start())
        if isinstance(started, Server):
            self.server, self.process = started, started.process
        else:
            assert isinstance(started, subprocess.Popen)
            self.process = started

    @property
    def is_dead(self) -> bool:
        """True when it runs no more."""
        return self.process is None or self.process.poll() is not None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it is there."""
        if self.process is not None:
            self.process.send_signal(number)

    def close(self) -> None:
        """End it."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGKILL)
        self._stack.close()


@dataclass(kw_only=True)
class Chaos:
    """One run of the crash suite: what happens follows from the seed, when it does does not."""

    stand: Stand
    seed: int
    say: Callable[[str], None]
    servers: int = 2
    done: Counter[str] = field(default_factory=Counter)
    slots: list[Slot] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    settled_after: float = 0.0

    def __post_init__(self) -> None:
        self.choice = random.Random(self.seed)
        # Deaths at random hit the same run more often than any poison.
        own = {"ATRIUM_MAX_TAKEOVERS": "9", "ATRIUM_LAPSE_SECONDS": str(LAPSE_SECONDS)}
        server = partial(self.stand.server, **own)
        worker = partial(self.stand.worker, **own)
        names = [f"server {number}" for number in range(self.servers)]
        self.slots = [*(Slot(name, server) for name in names), Slot("worker", worker)]

    async def run(self, *, seconds: float, settle_seconds: float) -> list[str]:
        """Let it happen for that long, have it settle, and return what is not as it must be.

        `settle_seconds` bounds the time from the last fault to the end of the last run.
        """
        try:
            await asyncio.gather(*(asyncio.to_thread(slot.start) for slot in self.slots))
            await self._happen(monotonic() + seconds)
            last = monotonic()
            await asyncio.to_thread(wait_until, self.stand.is_settled, seconds=settle_seconds)
            self.settled_after = monotonic() - last
        finally:
            await asyncio.gather(*(asyncio.to_thread(slot.close) for slot in self.slots))
        return await in_db(self.stand.breaches)

    async def _happen(self, until: float) -> None:
        acme = self.stand.world.acme
        for number in range(PEOPLE):
            person = Person(
                self.stand,
                self._servers,
                name=f"person{number}",
                session_key=await in_db(acme.session_key, "alice"),
                choice=random.Random(self.choice.random()),
                key=(await in_db(program_of, acme, "alice")).secret if number % 2 else None,
            )
            self.people.append(person)
        over = asyncio.Event()
        keeper = asyncio.create_task(self._keep_alive(over))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._break_things(until))
                for person in self.people:
                    group.create_task(person.chat(until=until))
        finally:
            # A start is never cut off: nobody would end what it started.
            over.set()
            await keeper
        if all(slot.is_dead for slot in self.slots) or not self.stand.cluster.is_running():
            await self._revive()

    def _servers(self) -> Sequence[Server]:
        serving = [slot for slot in self.slots if slot.server is not None]
        living = [slot for slot in serving if not slot.is_dead]
        return [slot.server for slot in living or serving if slot.server is not None]

    async def _keep_alive(self, over: asyncio.Event) -> None:
        while not over.is_set():
            await self._revive()
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), 0.1)

    async def _revive(self) -> None:
        while not self.stand.cluster.is_running():
            with suppress(EmbeddedError):  # it was killed while it started
                await asyncio.to_thread(self.stand.start_database)
        for slot in self.slots:
            if slot.is_dead:
                # A server does not start without its database.
                with suppress(AssertionError):
                    await asyncio.to_thread(slot.start)

    async def _break_things(self, until: float) -> None:
        begun = monotonic()
        while monotonic() < until - 1:
            await asyncio.sleep(self.choice.uniform(0.8, 3.5))
            name, slot = self.choice.choice(sorted(FAULTS)), self.choice.choice(self.slots)
            words = f"{name} {slot.name}" if name in ON_PROCESSES else name
            self.say(f"{monotonic() - begun:6.1f} s  {words}")
            self.done[name] += 1
            await FAULTS[name](self, slot)

    async def _kill(self, slot: Slot) -> None:
        slot.send(signal.SIGKILL)

    async def _end(self, slot: Slot) -> None:
        slot.send(signal.SIGTERM)

    async def _freeze(self, slot: Slot) -> None:
        slot.send(signal.SIGSTOP)
        await asyncio.sleep(LAPSE_SECONDS * self.choice.uniform(0.3, 2.0))
        slot.send(signal.SIGCONT)

    async def _restart_database(self, _slot: Slot) -> None:
        how = self.choice.choice((signal.SIGQUIT, signal.SIGKILL))
        if self.stand.cluster.is_running():
            await asyncio.to_thread(self.stand.kill_database, how)

    async def _cut_connections(self, _slot: Slot) -> None:
        with suppress(psycopg.Error):  # the database itself may be away
            await asyncio.to_thread(self.stand.query, TERMINATE)


FAULTS = {
    "kill": Chaos._kill,
    "end": Chaos._end,
    "freeze": Chaos._freeze,
    "kill the database": Chaos._restart_database,
    "cut connections": Chaos._cut_connections,
}
ON_PROCESSES = frozenset({"kill", "end", "freeze"})


def seed_from_environment() -> int:
    """Return `CRASH_SEED`, or a new seed."""
    return int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(2**31))
