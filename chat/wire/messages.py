"""Threads, messages, their content parts, and the deltas of a text."""

from __future__ import annotations

from collections.abc import Iterable
from time import time

from chat.models import Message, Thread
from chat.wire.assistants import assistant_label
from chat.wire.base import WireObject, unix


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


def render_lost_message(message_id: str, run: WireObject) -> WireObject:
    """Return the end of a message that readers saw but that was lost before it was stored.

    It has no content, because none of it is stored. Only the IDs of `run` are needed.
    """
    now = int(time())
    return {
        "id": message_id,
        "object": "thread.message",
        "created_at": now,
        "thread_id": run["thread_id"],
        "status": "incomplete",
        "incomplete_details": {"reason": "run_failed"},
        "completed_at": None,
        "incomplete_at": now,
        "role": "assistant",
        "content": [],
        "assistant_id": run.get("assistant_id"),
        "run_id": run["id"],
        "attachments": [],
        "metadata": {},
        "atrium": {"client_id": None, "assistant": None, "queued": False, "lost": True},
    }


def text_part(value: str, annotations: Iterable[WireObject] = ()) -> WireObject:
    """Return a text content part."""
    return {"type": "text", "text": {"value": value, "annotations": list(annotations)}}


def image_part(file_id: str) -> WireObject:
    """Return an image content part."""
    return {"type": "image_file", "image_file": {"file_id": file_id, "detail": "auto"}}


def text_continuation(value: str) -> WireObject:
    """Return a continuation of a text content part."""
    return {"type": "text", "text": {"value": value}}


def message_delta(message_id: str, part: int, content: WireObject) -> WireObject:
    """Return a `thread.message.delta` object that adds `content` to the content part `part`."""
    delta = {"content": [{"index": part, **content}]}
    return {"id": message_id, "object": "thread.message.delta", "delta": delta}


def message_as_begun(message: WireObject) -> WireObject:
    """Return a message object in its initial state, without its text."""
    over = dict.fromkeys(("completed_at", "incomplete_at", "incomplete_details"))
    return {**message, **over, "status": "in_progress", "content": []}
