"""Steps of runs: a message that is made, or the calls of tools."""

from __future__ import annotations

from collections.abc import Sequence

from chat.models import Run, RunStep, ToolCall
from chat.wire.base import WireObject, unix
from chat.wire.calls import call_object, search_results


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


def with_contents(step: WireObject, calls: Sequence[ToolCall]) -> WireObject:
    """Return a step object with the text of the passages that these calls of it found."""
    texts = {call.id: search_results(call.details or {}, with_content=True) for call in calls}
    told = [
        {**one, "file_search": {**one["file_search"], "results": texts[one["id"]]}}
        if "results" in one.get("file_search", {}) and one["id"] in texts
        else one
        for one in step["step_details"]["tool_calls"]
    ]
    return {**step, "step_details": {**step["step_details"], "tool_calls": told}}
