"""Detection of pauses of this process, which must not be blamed on a model server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from weakref import WeakKeyDictionary

TICK_SECONDS = 0.5
# An event loop that is late by this much was stopped or starved.
FREEZE_SECONDS = 3.0


class FreezeWatch:
    """Counter of the pauses of one event loop; it runs while there are watchers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.freezes = 0
        self._loop = loop
        self._watchers = 0
        self._timer: asyncio.TimerHandle | None = None
        self._ticked = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count pauses inside the context."""
        self._watchers += 1
        if self._timer is None:
            self._ticked = monotonic()
            self._timer = self._loop.call_later(TICK_SECONDS, self._tick)
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._timer.cancel()
                self._timer = None

    def count_freezes(self) -> int:
        """Return the number of pauses so far, including one that has just ended."""
        if self._timer is not None:
            self._record_delay()
        return self.freezes

    def _record_delay(self) -> None:
        now = monotonic()
        self.freezes += now - self._ticked > TICK_SECONDS + FREEZE_SECONDS
        self._ticked = now

    def _tick(self) -> None:
        self._record_delay()
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, FreezeWatch] = WeakKeyDictionary()


def get_freeze_watch() -> FreezeWatch:
    """Return the watch of the running event loop."""
    loop = asyncio.get_running_loop()
    watch = _watches.get(loop)
    if watch is None:
        watch = _watches[loop] = FreezeWatch(loop)
    return watch
