"""Retry policy and breaker, on a clock that only moves when told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import pytest

from chat.upstream.base import (
    Capabilities,
    Event,
    Finished,
    ModelRequest,
    TextDelta,
    UsageReported,
)
from chat.upstream.breaker import Breaker, Breakers
from chat.upstream.errors import (
    StreamBroken,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from chat.upstream.retry import FailedAttempt, RetryPolicy, Timing, stream_with_retries
from tests.upstream.chats import Heard, asking

Step = Event | UpstreamError


@dataclass
class FakeUpstream:
    """Each attempt plays one list of steps; an error among them is raised."""

    attempts: list[list[Step]]
    name: str = "fake"
    asked: int = 0

    async def stream(self, request: ModelRequest) -> AsyncGenerator[list[Event], None]:
        self.asked += 1
        for step in self.attempts.pop(0):
            if isinstance(step, UpstreamError):
                raise step
            yield [step]

    async def list_models(self) -> list[str]:
        return []

    async def probe(self, *, model: str | None = None) -> Capabilities:
        return Capabilities()

    async def warm_up(self) -> None: ...

    async def aclose(self) -> None: ...


@dataclass
class FakeClock:
    now: float = 100.0
    slept: list[float] = field(default_factory=list)
    jitter: float = 0.5

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def timing(self) -> Timing:
        return Timing(clock=lambda: self.now, sleep=self.sleep, jitter=lambda: self.jitter)


ANSWER: list[Step] = [TextDelta("Hi"), Finished("stop")]


def play(
    upstream: FakeUpstream,
    clock: FakeClock,
    *,
    deadline: float = 1e9,
    breaker: Breaker | None = None,
    policy: RetryPolicy | None = None,
) -> tuple[Heard, list[FailedAttempt]]:
    failed: list[FailedAttempt] = []

    async def note(attempt: FailedAttempt) -> None:
        failed.append(attempt)

    async def once() -> Heard:
        heard = Heard()
        try:
            async for events in stream_with_retries(
                upstream,
                asking(),
                policy=policy or RetryPolicy(),
                deadline=deadline,
                breaker=breaker,
                on_failed_attempt=note,
                timing=clock.timing(),
            ):
                heard.reads.append(events)
        except UpstreamError as error:
            heard.error = error
        return heard

    return asyncio.run(once()), failed


def test_waits_grow_with_full_jitter_up_to_the_cap() -> None:
    clock = FakeClock()
    failures: list[list[Step]] = [[UpstreamUnavailable()] for _ in range(4)]
    upstream = FakeUpstream([*failures, ANSWER])
    heard, _ = play(upstream, clock, policy=RetryPolicy(cap=3.0))
    assert heard.text == "Hi"
    assert clock.slept == [0.25, 0.5, 1.0, 1.5]


def test_gives_up_after_five_tries() -> None:
    upstream = FakeUpstream([[UpstreamUnavailable()] for _ in range(5)])
    heard, failed = play(upstream, FakeClock())
    assert isinstance(heard.error, UpstreamUnavailable)
    assert [attempt.number for attempt in failed] == [1, 2, 3, 4, 5]
    assert failed[-1].delay is None


@pytest.mark.parametrize("error", [UpstreamRefused(), UpstreamTimeout(retryable=False)])
def test_no_retry_of_what_would_fail_again(error: UpstreamError) -> None:
    upstream = FakeUpstream([[error]])
    play(upstream, FakeClock())
    assert upstream.asked == 1


def test_no_replay_after_the_first_content() -> None:
    upstream = FakeUpstream([[TextDelta("Half"), StreamBroken()]])
    heard, _ = play(upstream, FakeClock())
    assert heard.text == "Half"
    assert heard.error is not None
    assert heard.error.after_first_content


def test_a_broken_stream_is_repeated_once() -> None:
    upstream = FakeUpstream([[StreamBroken()], [StreamBroken()], ANSWER])
    play(upstream, FakeClock())
    assert upstream.asked == 2


def test_what_failed_otherwise_before_is_not_counted_as_broken() -> None:
    failures: list[list[Step]] = [[UpstreamRateLimited()], [StreamBroken()], [UpstreamTimeout()]]
    upstream = FakeUpstream([*failures, ANSWER])
    heard, _ = play(upstream, FakeClock())
    assert heard.text == "Hi"


@pytest.mark.parametrize(("seconds", "asked"), [(30.0, 2), (61.0, 1)])
def test_retry_after_is_honoured_up_to_a_minute(seconds: float, asked: int) -> None:
    clock = FakeClock()
    upstream = FakeUpstream([[UpstreamRateLimited(retry_after=seconds)], ANSWER])
    play(upstream, clock)
    assert upstream.asked == asked
    assert clock.slept == [30.0][: asked - 1]


def test_no_attempt_starts_after_the_deadline() -> None:
    clock = FakeClock(now=100.0)
    upstream = FakeUpstream([[UpstreamRateLimited(retry_after=10.0)], ANSWER])
    heard, _ = play(upstream, clock, deadline=105.0)
    assert isinstance(heard.error, UpstreamRateLimited)
    assert clock.slept == []


def test_usage_of_a_failed_attempt_is_kept() -> None:
    usage = UsageReported(5, 0)
    upstream = FakeUpstream([[usage, UpstreamUnavailable()], ANSWER])
    _, failed = play(upstream, FakeClock())
    assert failed[0].usage == usage


def broken(breaker: Breaker, times: int, error: UpstreamError | None = None) -> None:
    for _ in range(times):
        breaker.failed(error or UpstreamUnavailable())


def test_the_breaker_opens_after_failures_in_a_row() -> None:
    breaker = Breaker(threshold=3)
    broken(breaker, 2)
    breaker.succeeded()
    broken(breaker, 2)
    assert not breaker.is_open
    broken(breaker, 1)
    assert breaker.is_open


def test_an_open_breaker_asks_nobody() -> None:
    breaker = Breaker(threshold=1)
    broken(breaker, 1)
    upstream = FakeUpstream([ANSWER])
    heard, _ = play(upstream, FakeClock(), breaker=breaker)
    assert upstream.asked == 0
    assert heard.error is not None
    assert heard.error.code == "breaker_open"


@pytest.mark.parametrize("error", [UpstreamRefused(), UpstreamRateLimited()])
def test_refusals_and_rate_limits_open_no_breaker(error: UpstreamError) -> None:
    breaker = Breaker(threshold=1)
    broken(breaker, 5, error)
    assert not breaker.is_open


def test_one_trial_after_the_cool_down() -> None:
    clock = FakeClock()
    breaker = Breaker(threshold=1, cool_down=30.0, clock=lambda: clock.now)
    broken(breaker, 1)
    clock.now += 31
    breaker.admit()
    with pytest.raises(UpstreamUnavailable):
        breaker.admit()
    breaker.succeeded()
    breaker.admit()


def test_a_failed_trial_opens_it_again() -> None:
    clock = FakeClock()
    breaker = Breaker(threshold=1, cool_down=30.0, clock=lambda: clock.now)
    broken(breaker, 1)
    clock.now += 31
    breaker.admit()
    broken(breaker, 1)
    assert breaker.is_open


def test_a_cancelled_trial_lets_the_next_one_pass() -> None:
    clock = FakeClock()
    breaker = Breaker(threshold=1, cool_down=30.0, clock=lambda: clock.now)
    broken(breaker, 1)
    clock.now += 31
    breaker.admit()
    breaker.abandoned()
    breaker.admit()


def test_retries_stop_when_the_breaker_opens() -> None:
    upstream = FakeUpstream([[UpstreamUnavailable()] for _ in range(5)])
    play(upstream, FakeClock(), breaker=Breaker(threshold=2))
    assert upstream.asked == 2


def test_each_key_has_its_own_breaker() -> None:
    breakers = Breakers(threshold=1)
    broken(breakers.of("acme"), 1)
    assert breakers.of("acme").is_open
    assert not breakers.of("globex").is_open
