"""Time in tests: wait for conditions by polling, and skip delays."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

# Far longer than any operation takes, since a busy machine may pause for a while.
WAIT_SECONDS = 60.0
TICK_SECONDS = 0.01


async def until(look: Callable[[], T]) -> T:
    """Poll `look` and return its first true result. Raises TimeoutError after WAIT_SECONDS."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            if found := look():
                return found
            await asyncio.sleep(0.005)


def wait_until(done: Callable[[], object], *, seconds: float = WAIT_SECONDS) -> None:
    """Block until `done` returns a true value; for threads and synchronous tests."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "It did not happen."
        time.sleep(0.02)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Fail if the block takes longer than `seconds`, not counting time the machine was busy.

    The time is counted in short sleeps. A sleep that takes longer than requested shows that the
    machine was busy, which also delayed the block.
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
    """Advance the running event loop's clock, so that timers due within `seconds` fire."""
    loop = asyncio.get_running_loop()
    now = loop.time
    loop.time = lambda: now() + seconds  # type: ignore[method-assign]
