"""Circuit breaker: while a model server is down, callers wait and one at a time tries it."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from chat.upstream.errors import UpstreamError

OnWait = Callable[[float | None], None]


def get_loop_time() -> float:
    """Return the running event loop's clock, in seconds."""
    return asyncio.get_running_loop().time()


@dataclass(eq=False)
class _Waiter:
    caller: Hashable
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Breaker:
    """Circuit breaker; opens once `threshold` different callers failed with no success in between.

    Only outages count: the server cannot be reached, does not answer in time or answers 5xx. While
    the breaker is open, callers wait in `admit`. After each pause one of them is admitted as a
    trial, the caller with the fewest trials first. Each failed trial doubles the pause up to
    `max_pause` seconds; the first answer of any kind closes the breaker.
    """

    def __init__(
        self,
        *,
        threshold: int = 3,
        pause: float = 1.0,
        max_pause: float = 30.0,
        clock: Callable[[], float] = get_loop_time,
    ) -> None:
        self._threshold = threshold
        self._first_pause = self._pause = pause
        self._max_pause = max_pause
        self._clock = clock
        self._failing: set[Hashable] = set()
        # Time of the next trial; None while the breaker is closed.
        self._retry_at: float | None = None
        self._trial: Hashable | None = None
        self._trials: Counter[Hashable] = Counter()
        self._waiters: list[_Waiter] = []
        self._next: _Waiter | None = None

    @property
    def is_open(self) -> bool:
        """True while callers have to wait."""
        return self._retry_at is not None

    @property
    def in_use(self) -> bool:
        """True while callers wait, or failures have been counted since the last success."""
        return bool(self._waiters or self._failing or self.is_open)

    async def admit(self, caller: Hashable, on_wait: OnWait | None = None) -> bool:
        """Wait until `caller` may send a request.

        Call `on_wait` with the seconds until the next trial whenever that changes, and with None
        once the wait is over. Return True if the breaker closed meanwhile, which releases all
        waiting callers.
        """
        if self._retry_at is None:
            return False
        waiter = _Waiter(caller)
        self._waiters.append(waiter)
        self._choose_next()
        announced: float | None = None
        try:
            while self._retry_at is not None:
                seconds = self._retry_at - self._clock()
                is_next = self._next is waiter and self._trial is None
                if is_next and seconds <= 0:
                    self._trial = caller
                    self._trials[caller] += 1
                    break
                if on_wait is not None and announced != self._retry_at:
                    announced = self._retry_at
                    # A caller that arrives during a trial waits for its end.
                    on_wait(max(0.0, seconds))
                await _wait(waiter.changed, seconds if is_next else None)
        finally:
            self._waiters.remove(waiter)
            self._choose_next()
            if on_wait is not None and announced is not None:
                on_wait(None)
        return self._retry_at is None

    def record_success(self, caller: Hashable) -> None:
        """Record that the server answered `caller`."""
        if self._trial == caller:
            self._trial = None
        self._failing.clear()
        self._close()

    def record_failure(self, caller: Hashable, error: UpstreamError) -> None:
        """Record a failed request of `caller`. Call it for each attempt: a caller counts once."""
        was_trial = self._trial == caller and self._trial is not None
        if was_trial:
            self._trial = None
        if not error.is_outage:
            if was_trial or error.http_status is not None:
                self.record_success(caller)
            return
        self._failing.add(caller)
        if self.is_open:
            if was_trial:
                self._pause = min(self._pause * 2, self._max_pause)
                self._open()
        elif len(self._failing) >= self._threshold:
            self._pause = self._first_pause
            self._open()

    def record_abandoned(self, caller: Hashable) -> None:
        """Record a cancelled request of `caller`, which proves nothing about the server."""
        if self._trial is not None and self._trial == caller:
            self._trial = None
            self._choose_next()

    def _open(self) -> None:
        self._retry_at = self._clock() + self._pause
        self._choose_next()
        self._wake_all()

    def _close(self) -> None:
        self._retry_at = None
        self._trials.clear()
        self._wake_all()

    def _choose_next(self) -> None:
        trials = self._trials
        self._next = min(self._waiters, key=lambda waiter: trials[waiter.caller], default=None)
        if self._next is not None:
            self._next.changed.set()

    def _wake_all(self) -> None:
        for waiter in self._waiters:
            waiter.changed.set()


async def _wait(changed: asyncio.Event, seconds: float | None) -> None:
    """Wait until the state changes, at most `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        return
    changed.clear()


class Breakers:
    """One breaker per key, such as (tenant, upstream); idle breakers are evicted first."""

    def __init__(self, *, threshold: int = 3, max_breakers: int = 10_000) -> None:
        self._threshold = threshold
        self._max_breakers = max_breakers
        self._by_key: OrderedDict[Hashable, Breaker] = OrderedDict()

    def of(self, key: Hashable) -> Breaker:
        """Return the breaker of `key`."""
        breaker = self._by_key.get(key)
        if breaker is None:
            breaker = self._by_key[key] = Breaker(threshold=self._threshold)
            if len(self._by_key) > self._max_breakers:
                self._evict_one()
        self._by_key.move_to_end(key)
        return breaker

    def _evict_one(self) -> None:
        oldest = next(iter(self._by_key))
        unused = (key for key, breaker in self._by_key.items() if not breaker.in_use)
        del self._by_key[next(unused, oldest)]
