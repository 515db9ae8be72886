"""Meter the model call that a dead process left unfinished, from its rows."""

from __future__ import annotations

from typing import Any

from chat.models import Message, Run, RunStatus, RunStep, StepStatus, UsageOutcome
from chat.runs.billing import prices
from chat.runs.billing.metering import ModelCallUsage, estimate_overhead, estimate_text
from chat.runs.prompt.build import build_prompt
from chat.runs.prompt.history import History
from chat.tools import registry
from chat.upstream.base import UsageReported
from tenants.bulk_insert import Insert, insert_many_tables

OUTCOMES = {
    RunStatus.CANCELLED: UsageOutcome.CANCELLED,
    RunStatus.EXPIRED: UsageOutcome.EXPIRED,
}


def meter_lost_call(run: Run, *, ended: RunStatus | None = None) -> dict[str, Any]:
    """Record an estimate of the model call in progress when the run's process died.

    The estimate uses the prompt and the text as far as they are stored. `ended` is the final
    status of the run, None if another process continues it. Return the run's new totals, empty if
    no call was in progress. Call within a tenant transaction that locks the run; the caller stores
    the totals.
    """
    if not _has_open_model_call(run):
        return {}
    step = _find_open_step(run, "message_creation")
    usage = UsageReported(_estimate_prompt_tokens(run, step), _estimate_text_tokens(run))
    outcome = UsageOutcome.TAKEN_OVER if ended is None else OUTCOMES.get(ended)
    call_usage = ModelCallUsage(
        model=run.model,
        usage=usage,
        outcome=outcome or UsageOutcome.TAKEN_OVER,
        estimated=True,
    )
    insert_many_tables([Insert(rows=prices.build_usage_rows(run, [call_usage]))])
    if step is not None:
        step.prompt_tokens, step.completion_tokens = usage.input_tokens, usage.output_tokens
        step.save(update_fields=["prompt_tokens", "completion_tokens"])
    totals = {
        "prompt_tokens": run.prompt_tokens + usage.input_tokens,
        "completion_tokens": run.completion_tokens + usage.output_tokens,
        "usage_estimated": True,
    }
    for name, value in totals.items():
        setattr(run, name, value)
    return totals


def _has_open_model_call(run: Run) -> bool:
    """Return whether a model call was in progress: no tool step is open, the run did not wait."""
    if run.owner is None or run.started_at is None or run.retry_at is not None:
        return False
    if run.status not in (RunStatus.IN_PROGRESS, RunStatus.CANCELLING) or not run.model:
        return False
    return _find_open_step(run, "tool_calls") is None


def _find_open_step(run: Run, kind: str) -> RunStep | None:
    open_steps = RunStep.objects.filter(run=run, type=kind, status=StepStatus.IN_PROGRESS)
    step: RunStep | None = open_steps.order_by("-index").first()
    return step


def _estimate_prompt_tokens(run: Run, step: RunStep | None) -> int:
    if step is not None and "estimated_tokens" in step.sent:
        messages, names = step.sent["estimated_tokens"], step.sent["tools"]
    else:
        prompt = build_prompt(History.of(run))
        messages = prompt.tokens
        names = registry.list_offered_names(run.tools, dropped=prompt.dropped)
    specs = registry.build_specs(run.tools, names)
    return int(messages) + estimate_overhead(run.instructions, specs)


def _estimate_text_tokens(run: Run) -> int:
    messages = Message.objects.filter(run_ref=run.pk, status="in_progress")
    return sum(estimate_text(len(message.text().encode())) for message in messages)
