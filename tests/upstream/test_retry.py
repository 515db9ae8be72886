"""Retry policy and breaker, on a clock that only moves when told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import pytest

from chat.upstream.base import (
    AnswerEnd,
    Capabilities,
    Event,
    ModelRequest,
    TextDelta,
    UsageReported,
)
from chat.upstream.breaker import Breaker, Breakers
from chat.upstream.classify import build_status_error, build_stream_error
from chat.upstream.errors import (
    StreamBroken,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from chat.upstream.retry import FailedAttempt, Gate, RetryPolicy, Timing, stream_with_retries
from tests.clock import pass_time
from tests.upstream.chats import Heard, asking

# Longer than any test: it is skipped.
PAUSE = 600.0
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


ANSWER: list[Step] = [TextDelta("Hi"), AnswerEnd("stop")]


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
                gate=Gate(breaker=breaker, caller="a") if breaker else None,
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


def fail(breaker: Breaker, *callers: str, error: UpstreamError | None = None) -> None:
    for caller in callers:
        breaker.record_failure(caller, error or UpstreamUnavailable())


def opened(*, pause: float = 0.0, clock: FakeClock | None = None) -> Breaker:
    """Return a breaker that three callers opened."""
    now = clock or FakeClock()
    breaker = Breaker(threshold=3, pause=pause, clock=lambda: now.now)
    fail(breaker, "a", "b", "c")
    assert breaker.is_open
    return breaker


async def turns(count: int = 5) -> None:
    for _turn in range(count):
        await asyncio.sleep(0)


def test_the_breaker_opens_after_failures_of_different_callers() -> None:
    breaker = Breaker(threshold=3, clock=lambda: 0.0)
    fail(breaker, "a", "b")
    breaker.record_success("c")
    fail(breaker, "a", "b")
    assert not breaker.is_open
    fail(breaker, "c")
    assert breaker.is_open


def test_a_caller_counts_once() -> None:
    breaker = Breaker(threshold=2, clock=lambda: 0.0)
    fail(breaker, *["a"] * 10)
    assert not breaker.is_open


@pytest.mark.parametrize(
    "error",
    [
        UpstreamRefused(http_status=400),
        UpstreamRateLimited(http_status=429),
        StreamBroken(),
        build_stream_error({"code": "server_error", "message": "m"}),
        build_status_error(409, "", {}),
    ],
)
def test_only_outages_open_a_breaker(error: UpstreamError) -> None:
    breaker = Breaker(threshold=1, clock=lambda: 0.0)
    fail(breaker, "a", "b", "c", error=error)
    assert not breaker.is_open


@pytest.mark.parametrize(
    "error", [UpstreamTimeout(), UpstreamUnavailable(), build_status_error(502, "", {})]
)
def test_outages_open_it(error: UpstreamError) -> None:
    breaker = Breaker(threshold=1, clock=lambda: 0.0)
    fail(breaker, "a", error=error)
    assert breaker.is_open


def test_callers_wait_until_the_pause_is_over_and_are_told() -> None:
    async def wait() -> list[float | None]:
        told: list[float | None] = []
        breaker = Breaker(threshold=1, pause=PAUSE)
        fail(breaker, "a")
        waiting = asyncio.create_task(breaker.admit("b", told.append))
        await turns()
        assert len(told) == 1
        pass_time(PAUSE)
        await waiting
        return told

    first, last = asyncio.run(wait())
    assert first is not None
    assert 0 < first <= PAUSE
    assert last is None


def test_a_caller_that_comes_during_a_trial_is_told_to_wait() -> None:
    async def wait() -> list[float | None]:
        told: list[float | None] = []
        breaker = opened()
        await breaker.admit("trial")
        later = asyncio.create_task(breaker.admit("later", told.append))
        await turns()
        assert told == [0.0]
        breaker.record_success("trial")
        await later
        return told

    assert asyncio.run(wait()) == [0.0, None]


def test_one_trial_at_a_time_and_those_tried_least_first() -> None:
    async def play_it() -> list[str]:
        admitted: list[str] = []
        breaker = opened()

        async def ask(caller: str) -> None:
            await breaker.admit(caller)
            admitted.append(caller)

        tasks = {name: asyncio.create_task(ask(name)) for name in ("bad", "good", "late")}
        await turns()
        assert admitted == ["bad"]
        fail(breaker, "bad")
        tasks["bad again"] = asyncio.create_task(ask("bad"))
        await turns()
        assert admitted == ["bad", "good"]
        breaker.record_success("good")
        await asyncio.gather(*tasks.values())
        return admitted

    assert asyncio.run(play_it())[:2] == ["bad", "good"]


def test_pauses_grow_with_each_failed_trial() -> None:
    clock = FakeClock()
    breaker = opened(pause=1.0, clock=clock)

    async def trials() -> list[float]:
        pauses: list[float] = []
        for _trial in range(7):
            task = asyncio.create_task(
                breaker.admit("a", lambda seconds: pauses.extend([seconds] if seconds else []))
            )
            await turns()
            assert not task.done()
            clock.now += pauses[-1]
            breaker._wake_all()
            await task
            fail(breaker, "a")
        return pauses

    assert asyncio.run(trials()) == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


@pytest.mark.parametrize("how", ["cancelled", "stopped while waiting"])
def test_a_trial_that_ends_early_lets_the_next_one_pass(how: str) -> None:
    async def play_it() -> None:
        breaker = opened()
        await breaker.admit("first")
        second, third = (asyncio.create_task(breaker.admit(name)) for name in ("b", "c"))
        await turns()
        if how == "stopped while waiting":
            second.cancel()
        breaker.record_abandoned("first")
        await (third if second.cancelled() or second.cancelling() else second)
        third.cancel()

    asyncio.run(play_it())


def test_any_answer_to_a_trial_closes_it() -> None:
    async def play_it() -> Breaker:
        breaker = opened()
        await breaker.admit("a")
        fail(breaker, "a", error=build_stream_error({"code": "server_error", "message": "m"}))
        return breaker

    assert not asyncio.run(play_it()).is_open


def test_attempts_while_the_breaker_is_open_do_not_count() -> None:
    failures: list[list[Step]] = [[UpstreamUnavailable()] for _ in range(9)]
    upstream = FakeUpstream([*failures, ANSWER])
    breaker = Breaker(threshold=1, pause=0.0)
    heard, failed = play(upstream, FakeClock(), breaker=breaker)
    assert heard.text == "Hi"
    assert [attempt.number for attempt in failed] == list(range(1, 10))
    assert not breaker.is_open


def test_a_late_answer_is_not_asked_for_again() -> None:
    late = UpstreamTimeout(retryable=False, accepted=True)
    upstream = FakeUpstream([[late], ANSWER])
    heard, _ = play(upstream, FakeClock(), breaker=Breaker(threshold=1, pause=0.0))
    assert (upstream.asked, heard.error) == (1, late)


def test_what_fails_while_this_process_stood_still_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upstream = FakeUpstream([[UpstreamTimeout(retryable=False)], ANSWER])
    breaker = Breaker(threshold=1, pause=0.0)
    stream = upstream.stream
    now = [100.0]

    async def frozen(request: ModelRequest) -> AsyncGenerator[list[Event], None]:
        now[0] += 60.0 if upstream.asked == 0 else 0.0
        async for events in stream(request):
            yield events

    monkeypatch.setattr("chat.upstream.freeze.FREEZE_SECONDS", 3.0)
    monkeypatch.setattr("chat.upstream.freeze.monotonic", lambda: now[0])
    monkeypatch.setattr(upstream, "stream", frozen)
    heard, failed = play(upstream, FakeClock(), breaker=breaker)
    assert (heard.text, len(failed)) == ("Hi", 1)
    assert not breaker.is_open


def test_each_key_has_its_own_breaker() -> None:
    async def play_it() -> None:
        breakers = Breakers(threshold=1)
        fail(breakers.of("acme"), "a")
        assert breakers.of("acme").is_open
        assert not breakers.of("globex").is_open

    asyncio.run(play_it())


def test_an_open_breaker_is_not_forgotten_for_one_that_is_not_used() -> None:
    async def play_it() -> None:
        breakers = Breakers(threshold=1, max_breakers=2)
        fail(breakers.of("acme"), "a")
        for name in ("b", "c", "d"):
            breakers.of(name)
        assert breakers.of("acme").is_open

    asyncio.run(play_it())
