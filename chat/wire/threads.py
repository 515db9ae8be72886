"""Thread objects of the Assistants API."""

from __future__ import annotations

from chat.models import Thread
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
