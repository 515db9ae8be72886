"""Stops asking a model server that keeps failing; lets one request through to see if it is back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from time import monotonic

from chat.upstream.errors import UpstreamError, UpstreamUnavailable


class Breaker:
    """Opens after `threshold` failures in a row; after `cool_down` seconds one trial may pass.

    Only `retryable` errors other than rate limits count: a refusal shows that the server works.
    """

    def __init__(
        self,
        *,
        threshold: int = 5,
        cool_down: float = 30.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._threshold = threshold
        self._cool_down = cool_down
        self._clock = clock
        self._failures = 0
        self._open_until: float | None = None
        self._trial = False

    @property
    def is_open(self) -> bool:
        return self._open_until is not None and (self._trial or self._clock() < self._open_until)

    def admit(self) -> None:
        """Raise UpstreamUnavailable (code breaker_open) unless a request may go out now."""
        if self._open_until is None:
            return
        if self.is_open:
            wait = max(0.0, self._open_until - self._clock())
            raise UpstreamUnavailable(
                "Too many failures in a row; waiting before the next try.",
                code="breaker_open",
                retryable=False,
                retry_after=wait,
            )
        self._trial = True

    def succeeded(self) -> None:
        self._failures = 0
        self._open_until = None
        self._trial = False

    def failed(self, error: UpstreamError) -> None:
        if not error.retryable or error.code == "rate_limited":
            self.succeeded()
            return
        self._failures += 1
        if self._trial or self._failures >= self._threshold:
            self._open_until = self._clock() + self._cool_down
        self._trial = False

    def abandoned(self) -> None:
        """The request was cancelled: it says nothing about the server."""
        self._trial = False


class Breakers:
    """One breaker per key, such as (tenant, upstream); the least used are forgotten."""

    def __init__(self, *, threshold: int = 5, cool_down: float = 30.0, most: int = 10_000) -> None:
        self._threshold = threshold
        self._cool_down = cool_down
        self._most = most
        self._by_key: OrderedDict[Hashable, Breaker] = OrderedDict()

    def of(self, key: Hashable) -> Breaker:
        breaker = self._by_key.get(key)
        if breaker is None:
            breaker = Breaker(threshold=self._threshold, cool_down=self._cool_down)
            self._by_key[key] = breaker
            if len(self._by_key) > self._most:
                self._by_key.popitem(last=False)
        self._by_key.move_to_end(key)
        return breaker
