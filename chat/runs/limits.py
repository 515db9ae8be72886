"""The bounds of a run: rounds, tokens and money, its own and its tenant's."""

from __future__ import annotations

from chat.conf import conf
from chat.models import TenantPolicy, Usage
from chat.models.reasons import Reason
from chat.runs import pricing
from chat.runs.turn import Ending, Turn, failed, incomplete

# Servers refuse to be asked for fewer: an answer with less left is not begun.
LEAST_TOKENS = 16


def over_limit(turn: Turn, policy: TenantPolicy | None) -> Ending | None:
    """Return how a run ends that may ask the model no more, None to go on."""
    if turn.rounds >= conf.max_rounds:
        return failed(Reason.TOO_MANY_ROUNDS)
    most = turn.run.max_completion_tokens
    if most and turn.rounds and _completion_tokens(turn) + LEAST_TOKENS > most:
        return incomplete(Reason.MAX_COMPLETION_TOKENS)
    if policy is None:
        return None
    used = prompt_tokens(turn) + _completion_tokens(turn)
    if policy.max_tokens_per_run and used + LEAST_TOKENS > policy.max_tokens_per_run:
        return incomplete(Reason.BUDGET)
    if policy.max_cost_per_run is None:
        return None
    cost = pricing.cost_of(pricing.usage_rows(turn.run, turn.spent))
    cost += pricing.cost_of(Usage.objects.filter(run=turn.run, outcome="used"))
    return incomplete(Reason.BUDGET) if cost >= policy.max_cost_per_run else None


def tokens_left(turn: Turn, policy: TenantPolicy | None) -> int | None:
    """Return how many tokens the next answer may have, None without a limit."""
    bounds = []
    if turn.run.max_completion_tokens:
        bounds.append(turn.run.max_completion_tokens - _completion_tokens(turn))
    if policy is not None and policy.max_tokens_per_run:
        used = prompt_tokens(turn) + _completion_tokens(turn)
        bounds.append(policy.max_tokens_per_run - used)
    return min(bounds) if bounds else None


def prompt_tokens(turn: Turn) -> int:
    """Return the prompt tokens of the run up to now."""
    return turn.run.prompt_tokens + sum(spent.usage.input_tokens for spent in turn.spent)


def _completion_tokens(turn: Turn) -> int:
    return turn.run.completion_tokens + sum(spent.usage.output_tokens for spent in turn.spent)
