"""Run steps: message creation or tool calls."""

from __future__ import annotations

from collections.abc import Sequence
from time import time

from chat.models import Run, RunStep, ToolCall
from chat.wire.base import WireObject, unix
from chat.wire.calls import call_delta, call_object, call_outputs_delta, search_results


def step_object(
    step: RunStep,
    *,
    run: Run,
    calls: Sequence[ToolCall] = (),
    labels: dict[str, str] | None = None,
    with_content: bool = False,
) -> WireObject:
    """Return the `thread.run.step` object.

    `calls` are the tool calls of the step, in order; `with_content` adds the text of the
    passages that searches found.
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


def add_contents(step: WireObject, calls: Sequence[ToolCall]) -> WireObject:
    """Return a step object with the text of the passages that the searches among `calls` found."""
    texts = {call.id: search_results(call.details or {}, with_content=True) for call in calls}
    tool_calls = [
        {**item, "file_search": {**item["file_search"], "results": texts[item["id"]]}}
        if "results" in item.get("file_search", {}) and item["id"] in texts
        else item
        for item in step["step_details"]["tool_calls"]
    ]
    return {**step, "step_details": {**step["step_details"], "tool_calls": tool_calls}}


def render_lost_step(step_id: str, run: WireObject, *, index: int | None) -> WireObject:
    """Return the end of the step that created a lost message.

    The IDs of the step and the message differ only in their prefix.
    """
    now = int(time())
    message_id = f"msg_{step_id.removeprefix('step_')}"
    return {
        "id": step_id,
        "object": "thread.run.step",
        "created_at": now,
        "run_id": run["id"],
        "assistant_id": run.get("assistant_id"),
        "thread_id": run["thread_id"],
        "type": "message_creation",
        "status": "failed",
        "cancelled_at": None,
        "completed_at": None,
        "expired_at": None,
        "failed_at": now,
        "last_error": None,
        "step_details": {
            "type": "message_creation",
            "message_creation": {"message_id": message_id},
        },
        "metadata": {},
        "usage": None,
        "atrium": {"index": index},
    }


def step_as_begun(step: WireObject) -> WireObject:
    """Return a step object in its initial state, without its calls."""
    over = dict.fromkeys(
        ("cancelled_at", "completed_at", "expired_at", "failed_at", "last_error", "usage")
    )
    details = step["step_details"]
    if step["type"] == "tool_calls":
        details = {"type": "tool_calls", "tool_calls": []}
    return {**step, **over, "status": "in_progress", "step_details": details}


def step_delta(step_id: str, calls: list[WireObject]) -> WireObject:
    """Return the `thread.run.step.delta` object that adds all calls of a step at once."""
    return _build_delta(step_id, [call_delta(index, call) for index, call in enumerate(calls)])


def outputs_delta(step_id: str, calls: list[WireObject]) -> WireObject | None:
    """Return the `thread.run.step.delta` object of code outputs, or None if there are none."""
    deltas = [call_outputs_delta(index, call) for index, call in enumerate(calls)]
    written = [item for item in deltas if item is not None]
    return _build_delta(step_id, written) if written else None


def _build_delta(step_id: str, calls: list[WireObject]) -> WireObject:
    details = {"type": "tool_calls", "tool_calls": calls}
    return {"id": step_id, "object": "thread.run.step.delta", "delta": {"step_details": details}}
