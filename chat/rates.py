"""Rate limits: fixed one-minute windows, counted in the cache and shared by all processes."""

from __future__ import annotations

from dataclasses import dataclass

from django.core.cache import cache

from chat.conf import conf
from chat.errors import RateLimited
from tenants import clock
from tenants.authentication import Principal

WINDOW_SECONDS = 60
ROUNDING_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Rate:
    """State of a rate limit window: remaining requests, and seconds until it resets.

    `whose` names the limited party and `what` the counted unit, in words for the message.
    """

    limit: int
    remaining: int
    reset: int
    whose: str
    what: str = "requests"

    @property
    def headers(self) -> dict[str, str]:
        """The usual rate limit headers."""
        return {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(max(0, self.remaining)),
            "x-ratelimit-reset-requests": f"{self.reset}s",
        }

    def check(self) -> None:
        """Check that the limit has not been exceeded.

        Raises:
            RateLimited: no requests are left; the message states the limit and the wait.
        """
        if self.remaining < 0:
            raise RateLimited(
                f"Rate limit reached for this {self.whose}: {self.limit} {self.what} per minute. "
                f"Please try again in {self.reset}s.",
                retry_after=self.reset,
            )


def count(
    name: str, *, now: float, limit: int, whose: str, what: str = "requests", times: int = 1
) -> Rate:
    """Count `times` uses in the window of `now`, in seconds, and return the window's state."""
    minute, reset = int(now // WINDOW_SECONDS), WINDOW_SECONDS - int(now % WINDOW_SECONDS)
    used = _increment(f"{name}:{minute}", times)
    return Rate(limit=limit, remaining=limit - used, reset=reset, whose=whose, what=what)


def count_run(principal: Principal) -> None:
    """Count a run started by a member, or a message that will be answered.

    Raises:
        RateLimited: the member, or all members of the company together, start too many.
    """
    tenant_id, member_id = principal.tenant_id, principal.membership_id
    for whose, name, limit in (
        ("member", f"runs:{tenant_id}:{member_id}", conf.runs_per_minute),
        ("company", f"runs:{tenant_id}", conf.runs_per_minute_per_tenant),
    ):
        count(name, now=clock.get_timestamp(), limit=limit, whose=whose, what="answers").check()


def count_page_request(principal: Principal) -> None:
    """Count a request from the chat page.

    Raises:
        RateLimited: the member sends too many.
    """
    name = f"page:{principal.tenant_id}:{principal.membership_id}"
    limit = conf.page_requests_per_minute
    count(name, now=clock.get_timestamp(), limit=limit, whose="member").check()


class FrameRate:
    """Token bucket that limits the frames per second of one websocket."""

    def __init__(self) -> None:
        self._left: float = conf.frames_per_second
        self._at = 0.0

    def check(self, now: float) -> None:
        """Count a frame at `now`, in seconds of time.monotonic.

        Raises:
            RateLimited: the bucket is empty.
        """
        limit = conf.frames_per_second
        self._left = min(limit, self._left + (now - self._at) * limit) - 1
        self._at = now
        if self._left < -ROUNDING_TOLERANCE:
            self._left = 0.0
            raise RateLimited(
                f"Too many frames: at most {limit} per second. Please try again in 1s.",
                retry_after=1,
            )


def _increment(name: str, times: int) -> int:
    try:
        return int(cache.incr(name, times))
    except ValueError:
        # First use in this window, or a full cache evicted the counter.
        if cache.add(name, times, timeout=2 * WINDOW_SECONDS):
            return times
    try:
        return int(cache.incr(name, times))
    except ValueError:
        return times
