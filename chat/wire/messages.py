"""Messages, the parts of their content, and the pieces in which a text arrives."""

from __future__ import annotations

from collections.abc import Iterable

from chat.models import Message
from chat.wire.assistants import assistant_label
from chat.wire.base import WireObject, unix


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
