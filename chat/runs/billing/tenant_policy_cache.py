"""Per-tenant limits and prices, cached for ten seconds.

They are read in every turn and change about once a month.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from uuid import UUID

from chat.models import Price, TenantPolicy
from tenants.scope import require_tenant_id

FRESH_SECONDS = 10.0
MAX_TENANTS = 10_000

Prices = dict[tuple[str, str], Price]


@dataclass(frozen=True)
class TenantPolicyCacheEntry:
    """Cached rows; `at` is when they were read, in seconds of time.monotonic."""

    tenant_policy: TenantPolicy | None
    tenant_prices: Prices
    at: float


_entries: dict[UUID, TenantPolicyCacheEntry] = {}


def get_policy() -> TenantPolicy | None:
    """Return the limits of the tenant in scope, None if it has none."""
    return _get_entry().tenant_policy


def get_prices() -> Prices:
    """Return the prices of the tenant in scope, by model and kind."""
    return _get_entry().tenant_prices


def clear() -> None:
    """Clear the cache; the next turn reads the rows again."""
    _entries.clear()


def _get_entry() -> TenantPolicyCacheEntry:
    tenant_id = require_tenant_id()
    entry = _entries.get(tenant_id)
    if entry is None or monotonic() - entry.at > FRESH_SECONDS:
        tenant_prices = {(price.model, price.kind): price for price in Price.objects.all()}
        entry = TenantPolicyCacheEntry(TenantPolicy.objects.first(), tenant_prices, monotonic())
        if len(_entries) >= MAX_TENANTS:
            _entries.clear()
        _entries[tenant_id] = entry
    return entry
