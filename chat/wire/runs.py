"""Runs: outcome, usage, cost and required actions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from math import ceil
from typing import Any

from chat.models import Run, ToolCall
from chat.models.reasons import Reason
from chat.models.runs import PENDING_STATUSES, CallStatus
from chat.wire.assistants import assistant_label
from chat.wire.base import WireObject, unix
from tenants import clock

LAST_ERROR_CODES = {
    Reason.UPSTREAM_RATE_LIMITED: "rate_limit_exceeded",
    Reason.CONTENT_REFUSED: "invalid_prompt",
    Reason.CONTEXT_TOO_LONG: "invalid_prompt",
    Reason.IMAGES_REFUSED: "invalid_prompt",
}
INCOMPLETE_REASONS = {
    Reason.MAX_COMPLETION_TOKENS: "max_completion_tokens",
    Reason.BUDGET: "max_completion_tokens",
    Reason.MAX_PROMPT_TOKENS: "max_prompt_tokens",
}


def run_object(
    run: Run,
    *,
    calls: Iterable[ToolCall] = (),
    labels: dict[str, str] | None = None,
    cost: Decimal | None = None,
) -> WireObject:
    """Return the `thread.run` object.

    `calls` are the pending tool calls; `labels` maps tool names to labels for people;
    `cost` is in US dollars.
    """
    reason = Reason(run.reason) if run.reason else None
    waiting = [call for call in calls if call.status in PENDING_STATUSES]
    incomplete = INCOMPLETE_REASONS.get(reason) if reason and run.status == "incomplete" else None
    return {
        "id": run.id,
        "object": "thread.run",
        "created_at": unix(run.created_at),
        "thread_id": run.thread_id,
        "assistant_id": run.assistant_ref,
        "status": run.status,
        "required_action": render_required_action(waiting, labels or {}),
        "last_error": last_error(reason) if reason and run.status == "failed" else None,
        "expires_at": None if run.ended_at or run.waiting else unix(run.expires_at),
        "started_at": unix(run.started_at),
        "cancelled_at": unix(run.ended_at) if run.status == "cancelled" else None,
        "failed_at": unix(run.ended_at) if run.status == "failed" else None,
        "completed_at": unix(run.ended_at) if run.status in ("completed", "incomplete") else None,
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "model": run.model,
        "instructions": run.instructions,
        "tools": run.tools,
        "metadata": run.metadata,
        "usage": run_usage(run) if run.ended_at else None,
        "temperature": run.temperature,
        "top_p": run.top_p,
        "max_prompt_tokens": run.max_prompt_tokens,
        "max_completion_tokens": run.max_completion_tokens,
        "truncation_strategy": run.truncation_strategy or {"type": "auto", "last_messages": None},
        "tool_choice": run.tool_choice if run.tool_choice is not None else "auto",
        "parallel_tool_calls": run.parallel_tool_calls,
        "response_format": run.response_format or "auto",
        "atrium": {
            "reason": run.reason or None,
            "sentence": str(reason.label) if reason else None,
            "state": run.state,
            "waiting": run.waiting,
            **retry_times(run),
            "usage_estimated": run.usage_estimated,
            "assistant": assistant_label(run.assistant) if run.assistant else None,
            "cost": cost_object(cost),
            "approvals": [
                approval_object(call, labels or {})
                for call in waiting
                if call.status == CallStatus.WAITING
            ],
        },
    }


def retry_times(run: Run) -> WireObject:
    """Return when the run next contacts an unavailable model server, and in how many seconds.

    Both are None unless the run waits for such a retry.
    """
    at = run.retry_at if run.status == "in_progress" else None
    if at is None:
        return {"retry_at": None, "retry_in": None}
    seconds = (at - clock.now()).total_seconds()
    return {"retry_at": unix(at), "retry_in": max(0, ceil(seconds))}


def run_as_begun(run: WireObject, status: str) -> WireObject:
    """Return a run object as it was in one of its initial statuses."""
    over = dict.fromkeys(
        ("cancelled_at", "failed_at", "completed_at", "incomplete_details", "last_error",
         "required_action", "usage")
    )  # fmt: skip
    started = run["started_at"] if status == "in_progress" else None
    status = "queued" if status == "created" else status
    return {**run, **over, "status": status, "started_at": started}


def last_error(reason: Reason) -> WireObject:
    """Return why a run failed, with an error code of the Assistants API."""
    code = LAST_ERROR_CODES.get(reason, "server_error")
    return {"code": code, "message": str(reason.label)}


def run_usage(run: Run) -> WireObject:
    """Return the token usage of a run."""
    return {
        "prompt_tokens": run.prompt_tokens,
        "completion_tokens": run.completion_tokens,
        "total_tokens": run.prompt_tokens + run.completion_tokens,
        "prompt_token_details": {"cached_tokens": run.cached_tokens},
    }


def cost_object(cost: Decimal | None) -> WireObject | None:
    """Return an exact amount of money, or None if it is unknown."""
    return None if cost is None else {"amount": f"{cost.normalize():f}", "currency": "USD"}


def render_required_action(
    waiting: Sequence[ToolCall], labels: dict[str, str]
) -> WireObject | None:
    """Return the action that the client has to take, or None.

    A call of a server-side tool carries its pending approval.
    """
    if not waiting:
        return None
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
            "atrium": {
                "approval": approval_object(call, labels)
                if call.status == CallStatus.WAITING
                else None
            },
        }
        for call in waiting
    ]
    return {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}


def approval_object(call: ToolCall, labels: dict[str, str]) -> WireObject:
    """Return an approval request: the exact arguments, and the hash that binds them."""
    return {
        "call_id": call.id,
        "name": call.name,
        "label": labels.get(call.name, call.name),
        "effect": call.effect,
        "arguments": decode_arguments(call.arguments),
        "arguments_hash": call.arguments_hash,
        "expires_at": unix(call.approval_expires_at),
    }


def decode_arguments(arguments: str) -> Any:
    """Return the parsed arguments, or their text if they are not JSON."""
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
