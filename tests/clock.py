"""Time in tests: what comes by itself is waited for, and time that has to pass is skipped."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

# Far beyond what anything takes, for machines that stand still now and then.
WAIT_SECONDS = 60.0
TICK_SECONDS = 0.01


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


@contextmanager
def promised(seconds: float) -> Iterator[None]:
    """Fail when the block takes longer than `seconds` on a machine that lets it run.

    They are counted in short sleeps: what a sleep takes beyond its time, the machine was busy
    with something else, and so it was for those that the block waits for.
    """
    over = threading.Event()
    sleeps = int(seconds / TICK_SECONDS)
    late: list[bool] = []

    def count() -> None:
        late.append(all(not over.wait(TICK_SECONDS) for _sleep in range(sleeps)))

    counting = threading.Thread(target=count)
    counting.start()
    try:
        yield
    finally:
        over.set()
        counting.join()
    assert late == [False], f"It took longer than {seconds:g} s."


def pass_time(seconds: float) -> None:
    """Let the running event loop's timers go off that are due within `seconds`."""
    loop = asyncio.get_running_loop()
    now = loop.time
    loop.time = lambda: now() + seconds  # type: ignore[method-assign]
