"""What socket and page answer alike."""

from __future__ import annotations

from typing import Any

from chat import wire
from chat.actions.sending import CreatedMessage


def render_created_message(sent: CreatedMessage) -> dict[str, Any]:
    """Return what the sender of a message is told."""
    return {
        "thread": wire.thread_object(sent.thread),
        "message": wire.message_object(sent.message),
        "run": wire.run_object(sent.run) if sent.run else None,
        "queued": sent.message.position is None,
    }
