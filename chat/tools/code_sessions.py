"""The code sessions of this server process, at most one per thread.

The database row (chat.models.CodeSession) is authoritative: a session is usable only while it
has the state that the row names. The number of sessions is limited; the session that has been
idle longest is closed to make room, because its state is stored.
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

WAIT_SECONDS = 30.0  # for a free session
BUSY = "Too much code is running at the moment. Try again in a minute."

log = structlog.get_logger(__name__)


@dataclass(kw_only=True, eq=False)
class IdleSession:
    """An idle session, kept for its thread's next call. `since` is a time.monotonic value."""

    session: Session
    state: str
    since: float = field(default_factory=monotonic)


class CodeSessions:
    """Pool of the code sessions of one event loop."""

    def __init__(self) -> None:
        self._idle: dict[str, IdleSession] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._room = asyncio.Semaphore(conf.code_sessions)
        # Limits the share of the sessions that one company may use.
        self._shares: WeakValueDictionary[UUID, asyncio.Semaphore] = WeakValueDictionary()
        self._in_use = 0
        self._sandbox: Sandbox | None = None
        self._choosing = asyncio.Lock()

    async def sandbox(self) -> Sandbox:
        """Return the sandbox of this installation, selected on the first call.

        Raises:
            SandboxUnavailable: the configured sandbox does not work on this machine.
        """
        async with self._choosing:
            if self._sandbox is None:
                self._sandbox = await _select_sandbox()
        return self._sandbox

    async def begin(self, thread: Thread) -> Callable[[], None]:
        """Wait for the thread's turn and a free slot; return a function that releases both.

        Raises:
            ToolError: "busy": no slot became free within `WAIT_SECONDS`.
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
            held.callback(self._release_slot)
            return held.pop_all().close

    def _release_slot(self) -> None:
        self._in_use -= 1

    async def take(self, thread_id: str, *, state: str) -> Session | None:
        """Take the thread's session out of the pool if it has `state`.

        The caller must close it or return it with `keep`. A session with another state is closed.
        """
        idle = self._idle.pop(thread_id, None)
        if idle is None:
            return None
        if idle.state == state and idle.session.alive:
            return idle.session
        await idle.session.close()
        return None

    async def open(self, saved: bytes | None) -> Session:
        """Open a session within a turn, closing idle sessions to make room.

        Raises:
            SandboxUnavailable: the configured sandbox does not work, or the session did not
                start.
        """
        sandbox = await self.sandbox()
        while self._idle and len(self._idle) + self._in_use > conf.code_sessions:
            oldest = min(self._idle, key=lambda thread_id: self._idle[thread_id].since)
            await self._idle.pop(oldest).session.close()
        return await sandbox.open(build_limits(), saved=saved)

    def keep(self, thread_id: str, session: Session, *, state: str) -> None:
        """Return a session to the pool for the thread's next call."""
        self._idle[thread_id] = IdleSession(session=session, state=state)

    async def close_stale(self) -> None:
        """Close stale sessions: expired, deleted, revoked, or superseded by another process."""
        held = dict(self._idle)
        if not held:
            return
        states = [idle.state for idle in held.values()]
        rows = await run_in_pool(
            DatabasePool.WATCH, call_privileged, "code_sessions_standing", states
        )
        for thread_id in held.keys() - {thread_id for (thread_id,) in rows}:
            # Unless a call took it during the query.
            if self._idle.get(thread_id) is held[thread_id]:
                await self._idle.pop(thread_id).session.close()

    async def close_all(self) -> None:
        """Close all idle sessions. Sessions in use end with their run."""
        while self._idle:
            _thread, idle = self._idle.popitem()
            await idle.session.close()


def build_limits() -> SandboxLimits:
    """Return the configured limits of a session."""
    return SandboxLimits(run_seconds=conf.code_seconds, memory=conf.code_memory_mib * MIB)


async def _select_sandbox() -> Sandbox:
    """Return the configured sandbox; by default bubblewrap if it works, else Monty."""
    bubblewrap = BubblewrapSandbox(conf.code_environment)
    monty = MontySandbox()
    if conf.code_sandbox == monty.name:
        return monty
    try:
        # Only opening a session shows whether the kernel supports it.
        session = await bubblewrap.open(build_limits())
    except SandboxUnavailable as error:
        if conf.code_sandbox == bubblewrap.name:
            raise
        log.info("code_sandbox", chosen=monty.name, why=str(error))
        return monty
    await session.close()
    log.info("code_sandbox", chosen=bubblewrap.name)
    return bubblewrap


_sessions_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, CodeSessions] = WeakKeyDictionary()


def get_code_sessions() -> CodeSessions:
    """Return the session pool of the running event loop."""
    return _sessions_by_loop.setdefault(asyncio.get_running_loop(), CodeSessions())
