"""The official client against a real server whose model is scripted."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from openai import OpenAI

from tests.api.conftest import Api, program_of
from tests.clock import WAIT_SECONDS
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
        timeout=WAIT_SECONDS,
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


@dataclass(frozen=True)
class Raw:
    """One event as it came."""

    id: str
    name: str
    data: Any


def raw_events(
    model: ModelServer, api: Api, path: str, *, body: Any = None, after: str | None = None
) -> Iterator[Raw]:
    """Yield the events of a stream by their own ids, as a browser would read them."""
    headers = {"Authorization": f"Bearer {api.secret}", **api.headers}
    headers |= {"Content-Type": "application/json"}
    if after is not None:
        headers["Last-Event-ID"] = after
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{model.server.url}/v1/{path}", data, headers)
    with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        fields: dict[str, str] = {}
        for line in response:
            name, _colon, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            elif "event" in fields:
                said = fields.get("data", "")
                found = said if said == "[DONE]" else json.loads(said)
                yield Raw(fields.get("id", ""), fields["event"], found)
                fields = {}


def text_in(events: Iterable[Raw]) -> str:
    """Return the text that the deltas bring."""
    deltas = [event.data for event in events if event.name == "thread.message.delta"]
    return "".join(part["text"]["value"] for d in deltas for part in d["delta"]["content"])
