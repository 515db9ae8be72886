"""Runs as event streams, read by the official client from a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from tests.api.streaming import DEPRECATED, client_of, names_of, text_of
from tests.model_server import ModelServer
from tests.world import World

pytestmark = pytest.mark.filterwarnings(DEPRECATED)

BEGINNING = ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
MESSAGE = [
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.message.created",
    "thread.message.in_progress",
    "thread.message.delta",
    "thread.message.completed",
    "thread.run.step.completed",
]
CALLS = ["thread.run.step.created", "thread.run.step.in_progress", "thread.run.step.delta"]


@pytest.fixture
def alice(model: ModelServer, world: World) -> Iterator[OpenAI]:
    with client_of(model, world.acme, "alice") as client:
        yield client


def asked(client: OpenAI, text: str = "Hello") -> Any:
    return client.beta.threads.create(messages=[{"role": "user", "content": text}])


def test_thread_and_run(model: ModelServer, alice: OpenAI) -> None:
    model.upstream.expect(say=("Hel", "lo ", "there 🌍."), pace=0.02)
    stream = alice.beta.threads.create_and_run(
        assistant_id=model.acme,
        stream=True,
        thread={"messages": [{"role": "user", "content": "Hi"}]},
    )
    events = list(stream)
    assert names_of(events) == ["thread.created", *BEGINNING, *MESSAGE, "thread.run.completed"]
    assert text_of(events) == "Hello there 🌍."


def test_a_run_is_streamed_in_the_official_order(model: ModelServer, alice: OpenAI) -> None:
    model.upstream.expect(say=("Hel", "lo ", "there 🌍."), pace=0.02)
    thread = asked(alice)
    stream = alice.beta.threads.runs.create(
        thread_id=thread.id, assistant_id=model.acme, stream=True
    )
    events = list(stream)
    assert names_of(events) == [*BEGINNING, *MESSAGE, "thread.run.completed"]
    assert text_of(events) == "Hello there 🌍."
