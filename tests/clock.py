"""Time in tests: what comes by itself is waited for, and time that has to pass is skipped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Far beyond what anything takes, for machines that stand still now and then.
WAIT_SECONDS = 60.0


async def until(look: Callable[[], T]) -> T:
    """Return what `look` finds, once it is true. Raises TimeoutError where it never is."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            if found := look():
                return found
            await asyncio.sleep(0.005)


def wait_until(done: Callable[[], object], *, seconds: float = WAIT_SECONDS) -> None:
    """Wait in a thread, or where nothing else goes on, for what is true sooner or later."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "It did not happen."
        time.sleep(0.02)


def pass_time(seconds: float) -> None:
    """Let the running event loop's timers go off that are due within `seconds`."""
    loop = asyncio.get_running_loop()
    now = loop.time
    loop.time = lambda: now() + seconds  # type: ignore[method-assign]
