"""Opens sessions for tests, and closes them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import psutil  # type: ignore[import-untyped]

from chat.sandbox.base import Limits, Outcome
from chat.sandbox.bubblewrap import BubblewrapSandbox
from chat.sandbox.monty import MontySandbox
from chat.sandbox.process import ProcessSession

Backend = MontySandbox | BubblewrapSandbox
SMALL = Limits(run_seconds=25)


@asynccontextmanager
async def opened(
    backend: Backend, *, goes_on: bytes | None = None, **limits: Any
) -> AsyncIterator[ProcessSession]:
    """A session with the limits given, gone afterwards."""
    session = await backend.open(replace(SMALL, **limits), saved=goes_on)
    try:
        yield session
    finally:
        await session.close()


async def run_alone(backend: Backend, source: str, /, **limits: Any) -> Outcome:
    """Run the code in a session of its own."""
    async with opened(backend, **limits) as session:
        return await session.run(source)


async def all_end(processes: Sequence[psutil.Process], *, seconds: float = 3) -> bool:
    """Tell whether every process is gone in time; what nobody has reaped yet is gone too."""
    deadline = time.monotonic() + seconds
    while any(map(_runs, processes)):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
