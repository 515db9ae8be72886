"""Streams that are silent for longer than the keep-alive, in every generation of the clients."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import program_of
from tests.database import HEARTBEATS, TestDatabase
from tests.model_server import QUICK, ModelServer, make_assistant
from tests.sdk import clients
from tests.server import Server, serve
from tests.upstream.script import Answer
from tests.upstream.server import ScriptedServer
from tests.world import World

# A silence holds several signs of life, also where the server is busy.
KEEP_ALIVE_SECONDS, SILENCE_SECONDS = 0.1, 1.0
SAID = ("Here ", "I am 🌍.")
TEXT = "".join(SAID)


@pytest.fixture(scope="module")
def _quick_keep_alive(
    database: TestDatabase,
    _upstream_process: ScriptedServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    database.kept.update(HEARTBEATS)
    environment = {
        **QUICK,
        "OPENAI_BASE_URL": _upstream_process.base_url,
        "ATRIUM_KEEP_ALIVE_SECONDS": str(KEEP_ALIVE_SECONDS),
    }
    folder = tmp_path_factory.mktemp("silence")
    with serve(database, folder, environment=environment, fixture="_quick_keep_alive") as server:
        yield server


@pytest.fixture
def silent(world: World, _quick_keep_alive: Server, upstream_server: ScriptedServer) -> ModelServer:
    """A model that says nothing at first, and nothing in the middle of its answer."""
    answer = Answer(say=SAID, delay=SILENCE_SECONDS, pace=SILENCE_SECONDS)
    upstream_server.when("Be silent first", answer, repeat=True)
    return ModelServer(
        server=_quick_keep_alive,
        upstream=upstream_server,
        acme=make_assistant(world.acme),
        globex=make_assistant(world.globex),
    )


def heard(silent: ModelServer, world: World, *command: str | Path) -> dict[str, Any]:
    """Run a program of a client and return what it printed."""
    key = program_of(world.acme, "adam").secret
    told = clients.printed([*command, silent.acme], url=silent.server.url, key=key)
    found: dict[str, Any] = json.loads(told)
    return found


PROGRAM = clients.FOLDER / "silence.py"
PYTHON = {"decoder": [TEXT, TEXT], "create": TEXT, "helper": TEXT}


def test_the_decoder_of_1_2_reads_on(silent: ModelServer, world: World) -> None:
    told = heard(silent, world, clients.program("python", "openai-1.2"), PROGRAM)
    assert (told["version"], told["saw"]) == ("1.2.0", {"decoder": [TEXT, TEXT]})


@pytest.mark.parametrize("generation", ["1", "2"])
def test_older_clients_read_on(silent: ModelServer, world: World, generation: str) -> None:
    told = heard(silent, world, clients.program("python", f"openai-{generation}"), PROGRAM)
    assert told["version"].startswith(f"{generation}.")
    assert told["saw"] == PYTHON


def test_the_present_client_reads_on(silent: ModelServer, world: World) -> None:
    told = heard(silent, world, Path(sys.executable), PROGRAM)
    assert told["version"].startswith("3.")
    assert told["saw"] == PYTHON


@pytest.mark.parametrize(("package", "generation"), [("openai-4", "4"), ("openai", "7")])
def test_the_clients_for_node_read_on(
    silent: ModelServer, world: World, package: str, generation: str
) -> None:
    node, program = clients.program("node", "node"), clients.FOLDER / "node" / "silence.mjs"
    told = heard(silent, world, node, program, package)
    assert told["version"].startswith(f"{generation}.")
    assert told["saw"] == {"create": TEXT, "helper": TEXT}
