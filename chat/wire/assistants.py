"""Assistant objects of the Assistants API, and the labels shown to people."""

from __future__ import annotations

from chat.conf import conf
from chat.models import Assistant
from chat.wire.base import WireObject, unix


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
    """Return the assistant's label as people see it."""
    return {
        **assistant.describe(),
        "demonstration": conf.is_demonstration(assistant.upstream),
    }
