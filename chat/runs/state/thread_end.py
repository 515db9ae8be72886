"""Append messages to a locked thread."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from chat.models import Message, Thread
from tenants import clock

TITLE_CHARACTERS = 60


def append_to_thread(
    thread: Thread,
    said: Sequence[dict[str, Any]],
    *,
    sender: UUID | None,
    sender_key: UUID | None,
) -> list[Message]:
    """Store messages (role, content, attachments, metadata), and set a missing thread title."""
    now = clock.now()
    messages = [
        Message(
            thread=thread,
            position=thread.last_position + number,
            sender=sender,
            sender_key=sender_key,
            # Lists are sorted by time; microseconds keep messages of one call in order.
            created_at=now + timedelta(microseconds=number),
            completed_at=now + timedelta(microseconds=number),
            **fields,
        )
        for number, fields in enumerate(said, start=1)
    ]
    Message.objects.bulk_create(messages)
    first_question = next((message.text() for message in messages if message.role == "user"), "")
    thread.title = thread.title or build_title(first_question)
    thread.last_position += len(messages)
    thread.updated_at = now
    thread.save(update_fields=["title", "last_position", "updated_at"])
    return messages


def build_title(text: str) -> str:
    """Return the first words of a message, cut at a word boundary."""
    words = " ".join(text.split())
    if len(words) <= TITLE_CHARACTERS:
        return words
    return words[:TITLE_CHARACTERS].rsplit(" ", 1)[0].rstrip(",;:.") + "…"
