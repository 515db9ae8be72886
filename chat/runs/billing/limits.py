"""Limits of a run and of its tenant: rounds, tokens and cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from chat.conf import conf
from chat.models import TenantPolicy, Usage
from chat.models.reasons import Reason
from chat.runs.billing import prices
from chat.runs.billing.prices import TokenPrice
from chat.runs.endings import Ending, OutputLimit, build_failure, build_incomplete

if TYPE_CHECKING:
    from chat.runs.state.turn import Turn

# Model servers reject lower output limits, so no answer starts with fewer tokens left.
MIN_TOKENS = 16
MAX_TOKENS = 2**31 - 1
# Model servers stop slightly below a limit, at the end of a token or character.
REACHED_SHARE = 0.9


# Received tokens are only estimated: tolerance for servers that respect their limit.
CUT_TOLERANCE = 1.25


@dataclass(frozen=True, kw_only=True)
class Budget:
    """US dollars left for a run, and its model's price per token."""

    left: Decimal
    price: TokenPrice


def check_limits(turn: Turn, policy: TenantPolicy | None) -> Ending | None:
    """Return the ending of a run that has reached a limit, None if it may continue."""
    if turn.rounds >= conf.max_rounds:
        return build_failure(Reason.TOO_MANY_ROUNDS)
    max_tokens = turn.run.max_completion_tokens
    if max_tokens and turn.rounds and _count_completion_tokens(turn) + MIN_TOKENS > max_tokens:
        return build_incomplete(Reason.MAX_COMPLETION_TOKENS)
    if policy is None:
        return None
    used = count_prompt_tokens(turn) + _count_completion_tokens(turn)
    if policy.max_tokens_per_run and used + MIN_TOKENS > policy.max_tokens_per_run:
        return build_incomplete(Reason.BUDGET)
    return None


def compute_output_limit(turn: Turn, policy: TenantPolicy | None) -> OutputLimit | None:
    """Return the output limit of the next answer, None if unlimited."""
    limits = []
    if turn.run.max_completion_tokens:
        left = turn.run.max_completion_tokens - _count_completion_tokens(turn)
        limits.append(OutputLimit(tokens=left, reason=Reason.MAX_COMPLETION_TOKENS))
    if policy is not None and policy.max_tokens_per_run:
        used = count_prompt_tokens(turn) + _count_completion_tokens(turn)
        left = policy.max_tokens_per_run - used
        limits.append(OutputLimit(tokens=left, reason=Reason.BUDGET))
    return min(limits, key=lambda limit: limit.tokens, default=None)


def has_unknown_price(model: str, upstream: str, tools: Iterable[dict[str, Any]]) -> bool:
    """Return whether the cost of such a run cannot be checked against a limit in US dollars."""
    if prices.find_token_price(model, upstream) is None:
        return True
    runs_code = any(tool["type"] == "code_interpreter" for tool in tools)
    return runs_code and prices.has_foreign_code_price()


def compute_budget(turn: Turn, policy: TenantPolicy | None) -> Budget | Ending | None:
    """Return the rest of the tenant's cost limit, None if unlimited.

    Failed attempts and code sessions count. A run whose price is unknown or in another currency
    ends. Call within a tenant transaction.
    """
    if policy is None or policy.max_cost_per_run is None:
        return None
    run = turn.run
    if has_unknown_price(run.model, run.upstream, run.tools):
        return build_failure(Reason.PRICE_UNKNOWN)
    price = prices.find_token_price(run.model, run.upstream, input_tokens=count_prompt_tokens(turn))
    assert price is not None
    cost = prices.compute_cost(prices.build_usage_rows(run, turn.unsaved_usage))
    cost += prices.compute_cost(Usage.objects.filter(run=run))
    left = policy.max_cost_per_run - cost
    if cost and left <= 0:
        return build_incomplete(Reason.BUDGET)
    return Budget(left=left, price=price)


def limit_by_cost(
    limit: OutputLimit | None, budget: Budget | None, *, input_tokens: int
) -> OutputLimit | Ending | None:
    """Lower `limit` to the output tokens that the budget covers after paying for the prompt.

    Returns an ending if the budget does not cover the prompt plus `MIN_TOKENS` of output.
    """
    if budget is None:
        return limit
    left = budget.left - budget.price.input * input_tokens
    if left < 0:
        return build_incomplete(Reason.BUDGET)
    if not budget.price.output:
        return limit
    affordable = int(left / budget.price.output)
    if affordable < MIN_TOKENS:
        return build_incomplete(Reason.BUDGET)
    if limit is not None and limit.tokens <= affordable:
        return limit
    return OutputLimit(tokens=min(affordable, MAX_TOKENS), reason=Reason.BUDGET)


def exceeds_budget(turn: Turn) -> bool:
    """Return whether the current answer exceeds a tenant limit that the server ignored."""
    limit, meter = turn.output_limit, turn.meter
    if limit is None or meter is None or limit.reason != Reason.BUDGET:
        return False
    return meter.output_tokens > limit.tokens * CUT_TOLERANCE


def get_cut_reason(turn: Turn) -> Reason:
    """Return why an answer was cut: our limit, or a lower one of the model server."""
    limit, usage = turn.output_limit, turn.usage
    if limit is None or usage is None or usage.output_tokens < limit.tokens * REACHED_SHARE:
        return Reason.MAX_COMPLETION_TOKENS
    return limit.reason


def count_prompt_tokens(turn: Turn) -> int:
    """Return the prompt tokens that the run has used so far."""
    return turn.run.prompt_tokens + sum(spent.usage.input_tokens for spent in turn.unsaved_usage)


def _count_completion_tokens(turn: Turn) -> int:
    return turn.run.completion_tokens + sum(
        spent.usage.output_tokens for spent in turn.unsaved_usage
    )
