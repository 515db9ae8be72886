"""The official client against a real server whose model is scripted."""

from __future__ import annotations

from typing import Any

from openai import OpenAI

from tests.api.conftest import program_of
from tests.model_server import ModelServer
from tests.world import Company

DEPRECATED = "ignore:The Assistants API is deprecated:DeprecationWarning"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def client_of(model: ModelServer, company: Company, name: str) -> OpenAI:
    """Return the official client with a key of this person's own."""
    return OpenAI(
        base_url=f"{model.server.url}/v1",
        api_key=program_of(company, name).secret,
        max_retries=0,
        timeout=30,
    )


def names_of(events: list[Any]) -> list[str]:
    """Return the names of events in order, neighbouring deltas as one."""
    names: list[str] = []
    for event in events:
        if not names or names[-1] != event.event or not event.event.endswith("delta"):
            names.append(event.event)
    return names


def text_of(events: list[Any]) -> str:
    """Return the text that the deltas of a stream bring."""
    return "".join(
        part.text.value
        for event in events
        if event.event == "thread.message.delta"
        for part in event.data.delta.content
    )
