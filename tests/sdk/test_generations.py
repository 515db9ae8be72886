"""One program, in every generation of the official clients: all see the same."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import program_of
from tests.model_server import ModelServer
from tests.sdk import clients
from tests.upstream.script import Answer, Call
from tests.world import World

WEATHER = Answer(calls=(Call(name="get_weather", arguments='{"city": "Graz"}', pieces=3),))
RUN = [f"thread.run.{name}" for name in ("created", "queued", "in_progress")]
STEP = [f"thread.run.step.{name}" for name in ("created", "in_progress")]
MESSAGE = [f"thread.message.{name}" for name in ("created", "in_progress", "delta", "completed")]
ENDS = ["thread.run.step.completed", "thread.run.completed"]
ANSWERED = [*STEP, *MESSAGE, *ENDS]
BASIC: dict[str, Any] = {
    "models": ["test-model"],
    "assistants": {
        "changed": ["Changed", {"a": "b"}],
        "listed": ["Number 2", "Number 1", "Changed"],
        "deleted": [True, True, True],
        "left": 0,
    },
    "threads": {
        "texts": [f"Number {number}" for number in range(5)],
        "changed": {"case": "8"},
        "kept": {"case": "8"},
        "deleted": True,
    },
    "by_hand": {
        "waiting": "requires_action",
        "status": "completed",
        "answer": "It is sunny in Graz.",
        "steps": ["tool_calls", "message_creation"],
    },
    "cancel": {
        "status": "cancelled",
        "refused": [
            "Thread THREAD already has an active run RUN.",
            "Can't add messages to THREAD while a run RUN is active.",
        ],
    },
    "errors": {
        "unknown": ["NotFoundError", 404, None, "thread_id"],
        "prefix": ["BadRequestError", 400, "invalid_value", "thread_id"],
        "model": ["BadRequestError", 400, "model_not_found", "model"],
        "key": ["AuthenticationError", 401, "invalid_api_key", None],
    },
}
HELPERS: dict[str, Any] = {
    "helpers": {
        "plain": ["completed", "Hello there.", 18],
        "tool": ["requires_action", "completed", "It is sunny in Graz."],
        "create_and_run": ["completed", "Hello there."],
    },
    "streams": {
        "plain": [[*RUN, *ANSWERED], ["Hello there."]],
        "tool": [
            [*RUN, *STEP, "thread.run.step.delta", "thread.run.requires_action"],
            ["thread.run.step.completed", *RUN[1:], *ANSWERED],
            "completed",
            "It is sunny in Graz.",
        ],
        "create_and_run": ["thread.created", *RUN, *ANSWERED],
    },
}


@pytest.fixture
def forecast(model: ModelServer) -> ModelServer:
    """A model that greets, and that asks for the weather before it tells it."""
    told = Answer(say=("It is ", "sunny in ", "Graz."))
    model.upstream.when("Say hello", Answer(say=("Hel", "lo ", "there.")), repeat=True)
    model.upstream.when("The weather by hand", WEATHER, told)
    model.upstream.when("The weather, cancelled", WEATHER)
    return model


def expect_helpers(model: ModelServer) -> None:
    told = Answer(say=("It is ", "sunny in ", "Graz."))
    model.upstream.when("The weather with helpers", WEATHER, told)
    model.upstream.when("The weather as a stream", WEATHER, told)


def saw(command: list[str | Path], model: ModelServer, world: World) -> dict[str, Any]:
    key = program_of(world.acme, "adam").secret
    seen: dict[str, Any] = json.loads(clients.printed(command, url=model.server.url, key=key))
    return seen


SCENARIO = clients.FOLDER / "scenario.py"


def test_the_client_of_1_2_sees_what_it_can(forecast: ModelServer, world: World) -> None:
    python = clients.program("python", "openai-1.2")
    seen = saw([python, SCENARIO], forecast, world)
    assert seen["version"] == "1.2.0"
    assert seen["saw"] == BASIC


@pytest.mark.parametrize("generation", ["1", "2"])
def test_older_clients_see_the_same(forecast: ModelServer, world: World, generation: str) -> None:
    expect_helpers(forecast)
    python = clients.program("python", f"openai-{generation}")
    seen = saw([python, SCENARIO], forecast, world)
    assert seen["version"].startswith(f"{generation}.")
    assert seen["saw"] == {**BASIC, **HELPERS}


def test_the_present_client_sees_the_same(forecast: ModelServer, world: World) -> None:
    expect_helpers(forecast)
    seen = saw([Path(sys.executable), SCENARIO], forecast, world)
    assert seen["version"].startswith("3.")
    assert seen["saw"] == {**BASIC, **HELPERS}


@pytest.mark.parametrize(("package", "generation"), [("openai-4", "4"), ("openai", "7")])
def test_the_clients_for_node_see_the_same(
    forecast: ModelServer, world: World, package: str, generation: str
) -> None:
    expect_helpers(forecast)
    node = clients.program("node", "node")
    seen = saw([node, clients.FOLDER / "node" / "scenario.mjs", package], forecast, world)
    assert seen["version"].startswith(f"{generation}.")
    assert seen["saw"] == {**BASIC, **HELPERS}
