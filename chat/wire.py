"""Rows to the objects of the Assistants API, shared by socket, page and API.

No function here queries: callers load what is rendered (`run.assistant`, calls, names).
Times are Unix seconds; every nullable key is present. `atrium` holds our extensions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from chat.conf import conf
from chat.models import Assistant, Message, Run, RunStep, Thread, ToolCall
from chat.models.reasons import Reason
from chat.models.runs import PENDING, CallStatus
from chat.wire_calls import call_object

WireObject = dict[str, Any]

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


def unix(moment: datetime | None) -> int | None:
    """Return Unix seconds, None for None."""
    return int(moment.timestamp()) if moment else None


def assistant_object(assistant: Assistant) -> WireObject:
    """Return the `assistant` object."""
    return {
        "id": assistant.id,
        "object": "assistant",
        "created_at": unix(assistant.created_at),
        "name": assistant.name or None,
        "description": assistant.description or None,
        "model": assistant.model,
        "instructions": assistant.instructions or None,
        "tools": assistant.tools,
        "tool_resources": assistant.tool_resources,
        "metadata": assistant.metadata,
        "temperature": 1.0 if assistant.temperature is None else assistant.temperature,
        "top_p": 1.0 if assistant.top_p is None else assistant.top_p,
        "reasoning_effort": assistant.reasoning_effort or None,
        "response_format": assistant.response_format or "auto",
        "atrium": {
            **assistant_label(assistant),
            "suggested_prompts": assistant.suggested_prompts,
            "default": assistant.is_default,
            "enabled": assistant.enabled,
            "in_page": assistant.in_page,
        },
    }


def assistant_label(assistant: Assistant) -> WireObject:
    """Return who answers, as people see it."""
    return {
        **assistant.described(),
        "demonstration": conf.is_demonstration(assistant.upstream),
    }


def thread_object(thread: Thread) -> WireObject:
    """Return the `thread` object."""
    return {
        "id": thread.id,
        "object": "thread",
        "created_at": unix(thread.created_at),
        "metadata": thread.metadata,
        "tool_resources": thread.tool_resources,
        "atrium": {"title": thread.title, "updated_at": unix(thread.updated_at)},
    }


def message_object(message: Message) -> WireObject:
    """Return the `thread.message` object; needs `message.assistant` loaded."""
    reason = message.incomplete_reason
    assistant = message.assistant
    return {
        "id": message.id,
        "object": "thread.message",
        "created_at": unix(message.created_at),
        "thread_id": message.thread_id,
        "status": message.status,
        "incomplete_details": {"reason": reason} if reason else None,
        "completed_at": unix(message.completed_at),
        "incomplete_at": unix(message.incomplete_at),
        "role": message.role,
        "content": message.content,
        "assistant_id": message.assistant_id if message.role == "assistant" else None,
        "run_id": message.run_ref or None,
        "attachments": message.attachments,
        "metadata": message.metadata,
        "atrium": {
            "client_id": message.client_id,
            "assistant": assistant_label(assistant) if assistant else None,
            "queued": message.position is None,
        },
    }


def run_object(
    run: Run,
    *,
    calls: Iterable[ToolCall] = (),
    labels: dict[str, str] | None = None,
    cost: Decimal | None = None,
) -> WireObject:
    """Return the `thread.run` object.

    `calls` are those that wait for somebody; `labels` names tools for people;
    `cost` is in US dollars.
    """
    reason = Reason(run.reason) if run.reason else None
    waiting = [call for call in calls if call.status in PENDING]
    incomplete = INCOMPLETE_REASONS.get(reason) if reason and run.status == "incomplete" else None
    return {
        "id": run.id,
        "object": "thread.run",
        "created_at": unix(run.created_at),
        "thread_id": run.thread_id,
        "assistant_id": run.assistant_ref,
        "status": run.status,
        "required_action": required_action(waiting, labels or {}),
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
            "assistant": assistant_label(run.assistant) if run.assistant else None,
            "cost": cost_object(cost),
            "approvals": [
                approval_object(call, labels or {})
                for call in waiting
                if call.status == CallStatus.WAITING
            ],
        },
    }


def last_error(reason: Reason) -> WireObject:
    """Return why a run failed, in the API's own codes."""
    code = LAST_ERROR_CODES.get(reason, "server_error")
    return {"code": code, "message": str(reason.label)}


def run_usage(run: Run) -> WireObject:
    """Return the tokens of a run."""
    return {
        "prompt_tokens": run.prompt_tokens,
        "completion_tokens": run.completion_tokens,
        "total_tokens": run.prompt_tokens + run.completion_tokens,
        "prompt_token_details": {"cached_tokens": run.cached_tokens},
    }


def cost_object(cost: Decimal | None) -> WireObject | None:
    """Return an amount of money, exact, None where it is unknown."""
    return None if cost is None else {"amount": f"{cost.normalize():f}", "currency": "USD"}


def required_action(waiting: Sequence[ToolCall], labels: dict[str, str]) -> WireObject | None:
    """Return what a client has to answer, None when nothing.

    A call of one of our tools carries the approval that it waits for.
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
    """Return what an approver sees: the exact arguments, and the hash that binds them."""
    return {
        "call_id": call.id,
        "name": call.name,
        "label": labels.get(call.name, call.name),
        "effect": call.effect,
        "arguments": readable_arguments(call.arguments),
        "arguments_hash": call.arguments_hash,
        "expires_at": unix(call.approval_expires_at),
    }


def readable_arguments(arguments: str) -> Any:
    """Return the parsed arguments, or their text where they are not JSON."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def step_object(
    step: RunStep,
    *,
    run: Run,
    calls: Sequence[ToolCall] = (),
    labels: dict[str, str] | None = None,
    with_content: bool = False,
) -> WireObject:
    """Return the `thread.run.step` object; `calls` in order for a step of tool calls.

    `with_content` adds the text of the passages that searches found.
    """
    ended = unix(step.ended_at)
    error = {"code": step.error_code, "message": step.error_message} if step.error_code else None
    return {
        "id": step.id,
        "object": "thread.run.step",
        "created_at": unix(step.created_at),
        "run_id": step.run_id,
        "assistant_id": run.assistant_ref,
        "thread_id": run.thread_id,
        "type": step.type,
        "status": step.status,
        "cancelled_at": ended if step.status == "cancelled" else None,
        "completed_at": ended if step.status == "completed" else None,
        "expired_at": ended if step.status == "expired" else None,
        "failed_at": ended if step.status == "failed" else None,
        "last_error": error,
        "step_details": _step_details(
            step, [call_object(call, labels or {}, with_content=with_content) for call in calls]
        ),
        "metadata": step.metadata,
        "usage": {
            "prompt_tokens": step.prompt_tokens,
            "completion_tokens": step.completion_tokens,
            "total_tokens": step.prompt_tokens + step.completion_tokens,
        }
        if step.ended_at
        else None,
        "atrium": {"index": step.index},
    }


def _step_details(step: RunStep, calls: Sequence[WireObject]) -> WireObject:
    if step.type == "message_creation":
        return {
            "type": "message_creation",
            "message_creation": {"message_id": step.message_id or ""},
        }
    return {"type": "tool_calls", "tool_calls": list(calls)}


def text_part(value: str, annotations: Iterable[WireObject] = ()) -> WireObject:
    """Return a text content part."""
    return {"type": "text", "text": {"value": value, "annotations": list(annotations)}}


def picture_part(file_id: str) -> WireObject:
    """Return a content part that shows a picture."""
    return {"type": "image_file", "image_file": {"file_id": file_id, "detail": "auto"}}


def message_delta(message_id: str, text: str, *, part: int = 0) -> WireObject:
    """Return the `thread.message.delta` object of a piece of the text that is content `part`."""
    return {
        "id": message_id,
        "object": "thread.message.delta",
        "delta": {"content": [{"index": part, "type": "text", "text": {"value": text}}]},
    }


def deleted(row_id: str, kind: str) -> WireObject:
    """Return what is told of something that is gone; `kind` is its object's name."""
    return {"id": row_id, "object": f"{kind}.deleted", "deleted": True}


def list_object(data: Sequence[WireObject], *, has_more: bool) -> WireObject:
    """Return a page of a list."""
    return {
        "object": "list",
        "data": list(data),
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }
