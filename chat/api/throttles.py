"""Rate limits of /v1 per API key and per company."""

from __future__ import annotations

from chat.conf import conf
from chat.rates import Rate, count
from tenants import clock
from tenants.authentication import Principal


def count_request(principal: Principal, *, times: int = 1) -> Rate:
    """Count a request of a key; return the tighter of the key's and the company's rate.

    A request that does the work of several counts `times`.
    """
    assert principal.key is not None
    now = clock.get_timestamp()
    rates = [
        count(f"v1:{principal.tenant_id}:{counted}", now=now, limit=limit, whose=whose, times=times)
        for whose, counted, limit in (
            ("key", principal.key.pk, conf.api_requests_per_minute),
            ("company", principal.tenant_id, conf.api_requests_per_minute_per_tenant),
        )
    ]
    return min(rates, key=lambda rate: rate.remaining)
