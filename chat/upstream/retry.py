"""Retry policy for model requests; the client library's own retries are disabled.

Requests are repeated only before the first content of an answer: afterwards a repeat would mix two
answers in one message, so the error goes to the caller, which starts a new step.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from time import monotonic

from chat.upstream.base import CONTENT_EVENTS, Event, ModelRequest, Upstream, UsageReported
from chat.upstream.breaker import Breaker, OnWait
from chat.upstream.errors import StreamBroken, UpstreamError, UpstreamTimeout
from chat.upstream.freeze import get_freeze_watch


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Delays in seconds: full jitter below base * 2^(n-1), at most `cap`.

    A `Retry-After` of up to `max_retry_after` is honoured; a longer one ends the attempts. Answers
    that break before any content are repeated only `broken_repeats` times.
    """

    tries: int = 5
    base: float = 0.5
    cap: float = 20.0
    max_retry_after: float = 60.0
    broken_repeats: int = 1

    def get_delay(
        self, attempt: int, error: UpstreamError, *, jitter: float, broken: int = 0
    ) -> float | None:
        """Return the delay after failed attempt number `attempt` (from 1), or None to give up.

        `jitter` is a number in [0, 1); `broken` is the number of broken answers, including this
        one.
        """
        if not error.retryable or error.after_first_content or attempt >= self.tries:
            return None
        if isinstance(error, StreamBroken) and broken > self.broken_repeats:
            return None
        delay = jitter * min(self.cap, self.base * 2.0 ** (attempt - 1))
        if error.retry_after is None:
            return delay
        if error.retry_after > self.max_retry_after:
            return None
        return max(delay, error.retry_after)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Sources of time and randomness, replaced in tests."""

    clock: Callable[[], float] = monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    jitter: Callable[[], float] = random.random


@dataclass(frozen=True, kw_only=True)
class FailedAttempt:
    """A failed attempt.

    `delay` is the wait before the next attempt in seconds, None if there is none. `usage` is what
    the server reported for the attempt before it failed.
    """

    number: int
    error: UpstreamError
    delay: float | None
    usage: UsageReported | None = None


@dataclass(slots=True)
class _Attempt:
    number: int
    content: bool = False
    usage: UsageReported | None = field(default=None)

    def note(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, CONTENT_EVENTS):
                self.content = True
            elif isinstance(event, UsageReported):
                self.usage = event


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The breaker that admits a caller's requests; `on_wait` is called when the request waits.

    When the breaker closes and releases all waiting callers, each waits for `room` first.
    """

    breaker: Breaker
    caller: Hashable
    on_wait: OnWait | None = None
    room: Callable[[], Awaitable[None]] | None = None

    async def admit(self) -> None:
        """Wait until a request may be sent."""
        while await self.breaker.admit(self.caller, self.on_wait) and self.room is not None:
            await self.room()
            if not self.breaker.is_open:
                return

    def has_to_wait(self, error: UpstreamError) -> bool:
        """Return True if the request will be repeated once the server is back."""
        repeatable = error.retryable and not error.after_first_content
        return self.breaker.is_open and error.is_outage and repeatable


async def stream_with_retries(
    upstream: Upstream,
    request: ModelRequest,
    *,
    policy: RetryPolicy,
    deadline: float,
    gate: Gate | None = None,
    on_attempt: Callable[[], None] | None = None,
    on_failed_attempt: Callable[[FailedAttempt], Awaitable[None]] | None = None,
    timing: Timing | None = None,
) -> AsyncGenerator[list[Event], None]:
    """Yield the event lists of the first attempt that produces content.

    `deadline` is in seconds of `time.monotonic` (or of `timing.clock`): no attempt starts and no
    delay ends after it; cutting off a running stream is left to the caller. While the breaker of
    `gate` is open the request waits there, and attempts that fail meanwhile do not count.
    `on_attempt` is called before each attempt; `on_failed_attempt` is awaited for every failed one,
    including the last. Raises UpstreamError.
    """
    timing = timing or Timing()
    number = tries = broken = 0
    while True:
        if gate is not None:
            await gate.admit()
        number, tries = number + 1, tries + 1
        attempt = _Attempt(number)
        if on_attempt is not None:
            on_attempt()
        try:
            with _outcome_for(gate) as outcome:
                async with aclosing(upstream.stream(request)) as stream:
                    async for events in stream:
                        if not attempt.content:
                            attempt.note(events)
                            outcome.record_answer()
                        yield events
            return
        except UpstreamError as error:
            error.after_first_content = error.after_first_content or attempt.content
            broken += isinstance(error, StreamBroken)
            # A timeout during a pause of this process proves nothing.
            if isinstance(error, UpstreamTimeout):
                error.retryable = error.retryable or outcome.frozen
            delay = policy.get_delay(tries, error, jitter=timing.jitter(), broken=broken)
            if gate is not None and gate.has_to_wait(error):
                tries, delay = tries - 1, 0.0
            if delay is not None and timing.clock() + delay >= deadline:
                delay = None
            if on_failed_attempt is not None:
                failed = FailedAttempt(number=number, error=error, delay=delay, usage=attempt.usage)
                await on_failed_attempt(failed)
            if delay is None:
                raise
        await timing.sleep(delay)


class _Outcome:
    """Reports the outcome of an attempt to the breaker, once."""

    def __init__(self, gate: Gate | None) -> None:
        self._gate = gate
        self.frozen = False

    def record_answer(self) -> None:
        """Record that the server began to answer: other callers need not wait for the end."""
        if self._gate is not None:
            gate, self._gate = self._gate, None
            gate.breaker.record_success(gate.caller)

    def record_failure(self, error: UpstreamError) -> None:
        """Record a failure, unless this process paused meanwhile, which makes it meaningless."""
        if self._gate is not None and not self.frozen:
            gate, self._gate = self._gate, None
            gate.breaker.record_failure(gate.caller, error)

    def end(self) -> None:
        """Record that no outcome is known."""
        if self._gate is not None:
            self._gate.breaker.record_abandoned(self._gate.caller)


@contextmanager
def _outcome_for(gate: Gate | None) -> Iterator[_Outcome]:
    """Report the outcome of the attempt in the context to the breaker."""
    outcome = _Outcome(gate)
    watch = get_freeze_watch()
    with watch.watching():
        before = watch.count_freezes()
        try:
            yield outcome
        except UpstreamError as error:
            outcome.frozen = watch.count_freezes() != before
            outcome.record_failure(error)
            raise
        else:
            outcome.record_answer()
        finally:
            outcome.end()
