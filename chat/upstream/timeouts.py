"""Reusable timeout for waits that occur by the thousand, with one timer that is rarely reset.

`asyncio.timeout` arms and disarms a timer for every wait, which costs more than reading a token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class ReusableTimeout:
    """Timeout of the task that creates it; `close` it after the last wait."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task: asyncio.Task[Any] = task
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = 0.0
        self._waiting = False
        self._until = 0.0
        self._expired = False

    async def wait(self, what: Coroutine[Any, Any, T], seconds: float) -> T:
        """Return the result of `what`. Raises TimeoutError after `seconds`."""
        cancelling = self._task.cancelling()
        self.begin(seconds)
        try:
            return await what
        except asyncio.CancelledError as error:
            # The task may have been cancelled from outside at the same time: that takes precedence.
            if self._expired and self._task.uncancel() <= cancelling:
                raise TimeoutError from error
            raise
        finally:
            self.end()

    def begin(self, seconds: float) -> None:
        """Cancel the task after `seconds`, unless `end` comes first."""
        self._until = self._loop.time() + seconds
        if self._timer is None or self._fires_at > self._until:
            self._arm()
        self._waiting, self._expired = True, False

    def end(self) -> None:
        """End the wait: the result has arrived."""
        self._waiting = False

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = self._until
        self._timer = self._loop.call_at(self._until, self._check)

    def _check(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        if self._loop.time() < self._until:
            self._arm()
        else:
            self._expired = True
            self._task.cancel()
