"""The sessions that run code in this process, at most one for a thread; nobody else holds any.

What counts is the row (chat.models.CodeSession): a session here is of use while it holds the
state that the row names. The number of processes is bounded: the longest idle one makes room,
as its state is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import monotonic
from uuid import UUID
from weakref import WeakKeyDictionary, WeakValueDictionary

import structlog

from chat.conf import conf
from chat.models import Thread
from chat.sandbox.base import MIB, Sandbox, SandboxLimits, SandboxUnavailable, Session
from chat.sandbox.bubblewrap import BubblewrapSandbox
from chat.sandbox.monty import MontySandbox
from chat.tools.base import ToolError
from tenants.db import DatabasePool, call_privileged, run_in_pool

WAIT_SECONDS = 30.0  # for one of the process's sessions
BUSY = "Too much code runs here at the moment. Try again in a minute."

log = structlog.get_logger(__name__)


@dataclass(kw_only=True, eq=False)
class Idle:
    """A session that waits for its thread's next code. `since` is of time.monotonic."""

    session: Session
    state: str
    since: float = field(default_factory=monotonic)


class CodeSessions:
    """The sessions of one event loop."""

    def __init__(self) -> None:
        self._idle: dict[str, Idle] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._room = asyncio.Semaphore(conf.code_sessions)
        # One company's code leaves room for that of others.
        self._shares: WeakValueDictionary[UUID, asyncio.Semaphore] = WeakValueDictionary()
        self._in_use = 0
        self._sandbox: Sandbox | None = None
        self._choosing = asyncio.Lock()

    async def sandbox(self) -> Sandbox:
        """Return where code runs here: looked for once.

        Raises:
            SandboxUnavailable: where the settings ask for one that does not work.
        """
        async with self._choosing:
            if self._sandbox is None:
                self._sandbox = await _select_sandbox()
        return self._sandbox

    async def begin(self, thread: Thread) -> Callable[[], None]:
        """Wait for the thread's turn and for room to run its code; return what ends the turn.

        Raises:
            ToolError: "busy" when there was no room for too long.
        """
        turn = self._turns.setdefault(thread.pk, asyncio.Lock())
        most = max(1, conf.code_sessions // 2)
        share = self._shares.setdefault(thread.tenant_id, asyncio.Semaphore(most))
        with ExitStack() as held:
            await turn.acquire()
            held.callback(turn.release)
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    for room in (share, self._room):
                        await room.acquire()
                        held.callback(room.release)
            except TimeoutError:
                raise ToolError("busy", BUSY) from None
            self._in_use += 1
            held.callback(self._leave)
            return held.pop_all().close

    def _leave(self) -> None:
        self._in_use -= 1

    async def take(self, thread_id: str, *, state: str) -> Session | None:
        """Return the thread's session if it holds `state`; it is the caller's to close or keep."""
        idle = self._idle.pop(thread_id, None)
        if idle is None:
            return None
        if idle.state == state and idle.session.alive:
            return idle.session
        await idle.session.close()
        return None

    async def open(self, saved: bytes | None) -> Session:
        """Open a session within a turn, once there is room for it.

        Raises:
            SandboxUnavailable: as `sandbox`, or when the session does not start.
        """
        sandbox = await self.sandbox()
        while self._idle and len(self._idle) + self._in_use > conf.code_sessions:
            oldest = min(self._idle, key=lambda thread_id: self._idle[thread_id].since)
            await self._idle.pop(oldest).session.close()
        return await sandbox.open(limits(), saved=saved)

    def keep(self, thread_id: str, session: Session, *, state: str) -> None:
        """Let a session wait for the thread's next code."""
        self._idle[thread_id] = Idle(session=session, state=state)

    async def tend(self) -> None:
        """Close what nobody may go on with: lapsed, deleted, revoked, or gone on elsewhere."""
        held = dict(self._idle)
        if not held:
            return
        states = [idle.state for idle in held.values()]
        rows = await run_in_pool(
            DatabasePool.WATCH, call_privileged, "code_sessions_standing", states
        )
        for thread_id in held.keys() - {thread_id for (thread_id,) in rows}:
            # Unless it was taken up meanwhile.
            if self._idle.get(thread_id) is held[thread_id]:
                await self._idle.pop(thread_id).session.close()

    async def close_all(self) -> None:
        """Close what is idle; what is in use goes with its run."""
        while self._idle:
            _thread, idle = self._idle.popitem()
            await idle.session.close()


def limits() -> SandboxLimits:
    """Return the bounds of a session, by the settings."""
    return SandboxLimits(run_seconds=conf.code_seconds, memory=conf.code_memory_mib * MIB)


async def _select_sandbox() -> Sandbox:
    """Return the sandbox that the settings name; of themselves, the stronger that works here."""
    bubblewrap = BubblewrapSandbox(conf.code_environment)
    monty = MontySandbox()
    if conf.code_sandbox == monty.name:
        return monty
    try:
        # Only a session tells whether the kernel plays along.
        session = await bubblewrap.open(limits())
    except SandboxUnavailable as error:
        if conf.code_sandbox == bubblewrap.name:
            raise
        log.info("code_sandbox", chosen=monty.name, why=str(error))
        return monty
    await session.close()
    log.info("code_sandbox", chosen=bubblewrap.name)
    return bubblewrap


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, CodeSessions] = WeakKeyDictionary()


def code_sessions() -> CodeSessions:
    """Return the sessions of the running event loop, whose processes they are."""
    return _of_loops.setdefault(asyncio.get_running_loop(), CodeSessions())
