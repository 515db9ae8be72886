"""Token prices: the tenant's own, otherwise the public table bundled for offline use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from chat.conf import conf
from chat.models import Price, Run, Usage, UsageKind
from chat.runs.billing import tenant_policy_cache
from chat.runs.billing.metering import ModelCallUsage
from chat.upstream.base import UsageReported

MILLION = Decimal(1_000_000)
CURRENCY = "USD"  # of cost limits


@dataclass(frozen=True, kw_only=True)
class TokenPrice:
    """US dollars per input token and per output token."""

    input: Decimal
    output: Decimal


def build_usage_rows(run: Run, spent: Iterable[ModelCallUsage]) -> list[Usage]:
    """Return the unsaved, priced usage rows of each upstream call."""
    calls = list(spent)
    if not calls:
        return []
    tenant_prices = tenant_policy_cache.get_prices()
    return [row for call in calls for row in _rows(run, call, tenant_prices)]


def _rows(
    run: Run, call: ModelCallUsage, tenant_prices: dict[tuple[str, str], Price]
) -> Iterator[Usage]:
    quantities = {
        "input_tokens": call.usage.input_tokens,
        "output_tokens": call.usage.output_tokens,
    }
    public = (
        {} if conf.is_demonstration(run.upstream) else get_public_prices(call.model, call.usage)
    )
    for kind, quantity in quantities.items():
        price, currency, source = None, "", ""
        if (call.model, kind) in tenant_prices:
            row = tenant_prices[call.model, kind]
            price, currency, source = row.price / MILLION, row.currency, "tenant"
        elif conf.is_demonstration(run.upstream):
            price, currency, source = Decimal(0), "USD", "demonstration"
        elif kind in public:
            price, currency, source = public[kind], "USD", "genai-prices"
        yield Usage(
            member_id=run.member_id,
            run=run,
            call=call.call,
            outcome=call.outcome,
            estimated=call.estimated,
            model=call.model,
            kind=kind,
            quantity=quantity,
            unit="token",
            price=price,
            currency=currency,
            price_source=source,
        )


def find_token_price(model: str, upstream: str, *, input_tokens: int = 1000) -> TokenPrice | None:
    """Return a model's price for the tenant in scope, None if no price in US dollars is known.

    `input_tokens` is the prompt size, on which some prices depend. Input counts as uncached.
    """
    found: dict[str, Decimal] = {}
    if conf.is_demonstration(upstream):
        found = {"input_tokens": Decimal(0), "output_tokens": Decimal(0)}
    tenant_prices = tenant_policy_cache.get_prices()
    for kind in (UsageKind.INPUT_TOKENS.value, UsageKind.OUTPUT_TOKENS.value):
        if (model, kind) in tenant_prices:
            row = tenant_prices[model, kind]
            if row.currency != CURRENCY:
                return None
            found[kind] = row.price / MILLION
    if len(found) < 2:
        usage = UsageReported(max(input_tokens, 1), 1000)
        found = {**get_public_prices(model, usage), **found}
    if len(found) < 2:
        return None
    return TokenPrice(input=found["input_tokens"], output=found["output_tokens"])


def has_foreign_code_price() -> bool:
    """Return whether the tenant in scope prices code sessions in a currency other than USD."""
    price = tenant_policy_cache.get_prices().get(("", UsageKind.CODE_SESSION.value))
    return price is not None and price.currency != CURRENCY


def get_public_prices(model: str, usage: UsageReported) -> dict[str, Decimal]:
    """Return US dollars per token by kind, averaged over cached and uncached; empty if unknown."""
    # The table takes half a second to load. A server without priced models never loads it,
    # others load it after their first answer is sent.
    from genai_prices import Usage as PublicUsage
    from genai_prices import calc_price

    try:
        found = calc_price(
            PublicUsage(
                input_tokens=usage.input_tokens,
                cache_read_tokens=usage.cached_tokens,
                output_tokens=usage.output_tokens,
            ),
            model,
        )
    except (LookupError, ValueError):
        return {}
    prices = {}
    if usage.input_tokens:
        prices["input_tokens"] = Decimal(found.input_price) / usage.input_tokens
    if usage.output_tokens:
        prices["output_tokens"] = Decimal(found.output_price) / usage.output_tokens
    return prices


def compute_cost(rows: Iterable[Usage]) -> Decimal:
    """Return the total in US dollars of the rows that have a known price."""
    return sum(
        (row.price * row.quantity for row in rows if row.price and row.currency == "USD"),
        Decimal(0),
    )
