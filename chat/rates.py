"""Rates: fixed windows of a minute, counted in the cache and so shared by all processes."""

from __future__ import annotations

from dataclasses import dataclass

from django.core.cache import cache

from chat.conf import conf
from chat.errors import RateLimited
from tenants import clock
from tenants.authentication import Principal

WINDOW = 60
ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What is left of a window: requests, and the seconds until the next one begins.

    `whose` is whom the limit is for, `what` what it counts, in words.
    """

    limit: int
    remaining: int
    reset: int
    whose: str
    what: str = "requests"

    @property
    def headers(self) -> dict[str, str]:
        """Return the usual headers."""
        return {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(max(0, self.remaining)),
            "x-ratelimit-reset-requests": f"{self.reset}s",
        }

    def check(self) -> None:
        """Do nothing while requests are left.

        Raises:
            RateLimited: with the limit and the wait in its sentence.
        """
        if self.remaining < 0:
            raise RateLimited(
                f"Rate limit reached for this {self.whose}: {self.limit} {self.what} a minute. "
                f"Please try again in {self.reset}s.",
                retry_after=self.reset,
            )


def count(
    name: str, *, now: float, limit: int, whose: str, what: str = "requests", times: int = 1
) -> Rate:
    """Count something in the window of `now`, in seconds, and return what is left of it."""
    minute, reset = int(now // WINDOW), WINDOW - int(now % WINDOW)
    used = _increment(f"{name}:{minute}", times)
    return Rate(limit=limit, remaining=limit - used, reset=reset, whose=whose, what=what)


def count_run(principal: Principal) -> None:
    """Count a run that somebody starts, or a message that is to be answered.

    Raises:
        RateLimited: when the member, or all of the company together, start too many.
    """
    tenant_id, member_id = principal.tenant_id, principal.membership_id
    for whose, name, limit in (
        ("member", f"runs:{tenant_id}:{member_id}", conf.runs_per_minute),
        ("company", f"runs:{tenant_id}", conf.runs_per_minute_per_tenant),
    ):
        count(name, now=clock.now_seconds(), limit=limit, whose=whose, what="answers").check()


def count_page_request(principal: Principal) -> None:
    """Count a request of the chat page; raises RateLimited for a member who sends too many."""
    name = f"page:{principal.tenant_id}:{principal.membership_id}"
    limit = conf.page_requests_per_minute
    count(name, now=clock.now_seconds(), limit=limit, whose="member").check()


class FrameRate:
    """How many frames one websocket may send in a second: a bucket that refills steadily."""

    def __init__(self) -> None:
        self._left: float = conf.frames_per_second
        self._at = 0.0

    def check(self, now: float) -> None:
        """Count a frame at `now`, in seconds of time.monotonic.

        Raises:
            RateLimited: where the bucket is empty.
        """
        limit = conf.frames_per_second
        self._left = min(limit, self._left + (now - self._at) * limit) - 1
        self._at = now
        if self._left < -ROUNDING:
            self._left = 0.0
            raise RateLimited(
                f"Too many frames: at most {limit} a second. Please try again in 1s.",
                retry_after=1,
            )


def _increment(name: str, times: int) -> int:
    try:
        return int(cache.incr(name, times))
    except ValueError:
        # The first of this minute, or the cache was full and dropped it.
        if cache.add(name, times, timeout=2 * WINDOW):
            return times
    try:
        return int(cache.incr(name, times))
    except ValueError:
        return times
