"""Files and vector stores, in every generation of the official clients: all see the same."""

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

FILES: dict[str, Any] = {
    "files": {
        "made": ["words.txt", 5, "user_data", "processed"],
        "listed": True,
        "content": "words",
        "processed": "processed",
        "deleted": True,
    }
}
GIVEN: dict[str, Any] = {
    "given": {
        "given": ["assistant.file", True, True],
        "listed": True,
        "taken": ["assistant.file.deleted", True, True],
        "of message": [True, "thread.message.file", True],
    }
}
PASSAGE = "# Wood\n\nThe word is walnut."
DOCUMENTS: dict[str, Any] = {
    **FILES,
    "uploads": {"status": "completed", "content": "one two", "cancelled": "cancelled"},
    "store": {
        "row": ["completed", None],
        "batch": ["completed", 1, 1],
        "failed": ["invalid_file"],
        "listed": 3,
        "text": [PASSAGE],
        "attributes": {"language": "en"},
        "counts": [3, 2, 1, 0],
    },
    "search": {"found": [["guide.md", PASSAGE]], "filtered": ["guide.md"]},
    "answer": {
        "status": "completed",
        "type": "file_search",
        "files": ["guide.md", "guide.md"],
        "content": [None, PASSAGE],
        "cited": ["file_citation", True],
        "marked": True,
    },
    "gone": True,
}


def saw(command: list[str | Path], model: ModelServer, world: World) -> tuple[str, dict[str, Any]]:
    key = program_of(world.acme, "adam").secret
    seen: dict[str, Any] = json.loads(clients.printed(command, url=model.server.url, key=key))
    return seen["version"], seen["saw"]


@pytest.fixture
def knowing(model: ModelServer) -> ModelServer:
    """A model that looks a word up."""
    search = Answer(calls=(Call(name="file_search", arguments='{"query": "the word walnut"}'),))
    model.upstream.when("Look up the word", search, Answer(say=("It is walnut{mark 1}.",)))
    return model


PROGRAM = clients.FOLDER / "documents.py"


def test_the_client_of_1_2_has_files(model: ModelServer, world: World) -> None:
    python = clients.program("python", "openai-1.2")
    assert saw([python, PROGRAM], model, world) == ("1.2.0", FILES | GIVEN)


@pytest.mark.parametrize("generation", ["1", "2"])
def test_older_clients_see_the_same(knowing: ModelServer, world: World, generation: str) -> None:
    python = clients.program("python", f"openai-{generation}")
    version, seen = saw([python, PROGRAM], knowing, world)
    assert version.startswith(f"{generation}.")
    assert seen == DOCUMENTS


def test_the_present_client_sees_the_same(knowing: ModelServer, world: World) -> None:
    version, seen = saw([Path(sys.executable), PROGRAM], knowing, world)
    assert version.startswith("3.")
    assert seen == DOCUMENTS


@pytest.mark.parametrize(("package", "generation"), [("openai-4", "4"), ("openai", "7")])
def test_the_clients_for_node_see_the_same(
    knowing: ModelServer, world: World, package: str, generation: str
) -> None:
    node = clients.program("node", "node")
    program = clients.FOLDER / "node" / "documents.mjs"
    version, seen = saw([node, program, package], knowing, world)
    assert version.startswith(f"{generation}.")
    assert seen == DOCUMENTS
