"""Response bodies shared by the websocket and the HTTP views."""

from __future__ import annotations

from typing import Any

from chat import wire
from chat.actions.send_message import CreatedMessage


def render_created_message(sent: CreatedMessage) -> dict[str, Any]:
    """Return the response to a created message."""
    return {
        "thread": wire.thread_object(sent.thread),
        "message": wire.message_object(sent.message),
        "run": wire.run_object(sent.run) if sent.run else None,
        "queued": sent.message.position is None,
    }
