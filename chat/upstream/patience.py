"""A limit for waits that come by the thousand: one timer that is rarely touched.

`asyncio.timeout` arms and disarms a timer for every wait, which costs more than reading a token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Patience:
    """Belongs to one event loop; `close` it when no more waits come."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Task[Any] | None = None
        self._until = 0.0
        self._ran_out = False

    async def wait(self, what: Coroutine[Any, Any, T], seconds: float) -> T:
        """Return what `what` returns. Raises TimeoutError after `seconds`."""
        task = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        self._until = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._until:
            self._arm()
        self._waiting = task
        try:
            return await what
        except asyncio.CancelledError as error:
            # Somebody else may have cancelled at the same time: that goes first.
            if self._ran_out and task.uncancel() <= cancelling:
                raise TimeoutError from error
            raise
        finally:
            self._waiting = None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._until, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._waiting is None:
            return
        if self._loop.time() < self._until:
            self._arm()
        else:
            self._ran_out = True
            self._waiting.cancel()
