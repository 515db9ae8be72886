"""How often a key and a company may ask: fixed windows of a minute, counted in the cache."""

from __future__ import annotations

import time
from dataclasses import dataclass

from django.core.cache import cache

from chat.conf import conf
from chat.errors import ChatError
from tenants import clock
from tenants.access import Principal

WINDOW = 60


class RateLimited(ChatError):
    """Too many requests."""

    code = "rate_limit_exceeded"
    http_status = 429
    retryable = True


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What is left of a window: requests, and the seconds until the next one begins."""

    limit: int
    remaining: int
    reset: int
    whose: str

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
                f"Rate limit reached for this {self.whose}: {self.limit} requests a minute. "
                f"Please try again in {self.reset}s."
            )


def count_request(principal: Principal, *, times: int = 1) -> Rate:
    """Count a request of a key, and return the tighter of its own and its company's rate.

    One that does the work of many counts as so many.
    """
    assert principal.key is not None
    now = time.time() + clock.offset_seconds()
    minute, reset = int(now // WINDOW), WINDOW - int(now % WINDOW)
    rates = []
    for whose, counted, limit in (
        ("key", principal.key.pk, conf.api_requests_per_minute),
        ("company", principal.tenant_id, conf.api_requests_per_minute_per_tenant),
    ):
        used = _count(f"v1:{principal.tenant_id}:{counted}:{minute}", times)
        rates.append(Rate(limit=limit, remaining=limit - used, reset=reset, whose=whose))
    return min(rates, key=lambda rate: rate.remaining)


def _count(name: str, times: int) -> int:
    """Count and return how often it was."""
    try:
        cache.add(name, 0, timeout=2 * WINDOW)
        return int(cache.incr(name, times))
    except ValueError:  # the cache was full and dropped it at once
        return times
