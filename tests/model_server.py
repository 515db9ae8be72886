"""Fixtures for a server process that uses the scripted test upstream as its model server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chat.models import Assistant
from tests.database import HEARTBEATS, TestDatabase
from tests.server import Server, serve
from tests.upstream.server import ScriptedServer
from tests.world import Company, World

# Short polling intervals, but long timeouts for a model server or process that is paused.
QUICK = {
    "OPENAI_API_KEY": "sk-canary-upstream-key-000000000000",
    "ATRIUM_MODEL": "test-model",
    "ATRIUM_UPSTREAM_BACKOFF_SECONDS": "0.01",
    "ATRIUM_UPSTREAM_FIRST_BYTE_SECONDS": "60",
    "ATRIUM_UPSTREAM_IDLE_SECONDS": "60",
    "ATRIUM_WATCH_SECONDS": "0.2",
    "ATRIUM_PARTIAL_SECONDS": "0.1",
    "ATRIUM_HEARTBEAT_SECONDS": "0.5",
    "ATRIUM_LAPSE_SECONDS": "60",
    "ATRIUM_PROMPT_TOKENS": "600",
}


@dataclass(frozen=True, kw_only=True)
class ModelServer:
    """Atrium server with the scripted model behind it, and an assistant of each tenant."""

    server: Server
    upstream: ScriptedServer
    acme: str
    globex: str


@pytest.fixture(scope="session")
def _model_server(
    database: TestDatabase,
    _upstream_process: ScriptedServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    database.kept.update(HEARTBEATS)
    environment = {**QUICK, "OPENAI_BASE_URL": _upstream_process.base_url}
    folder = tmp_path_factory.mktemp("model_server")
    with serve(database, folder, environment=environment, fixture="_model_server") as server:
        yield server


@pytest.fixture
def model(world: World, _model_server: Server, upstream_server: ScriptedServer) -> ModelServer:
    """Scripted model behind a real server; unexpected requests and unused answers fail the test."""
    return ModelServer(
        server=_model_server,
        upstream=upstream_server,
        acme=make_assistant(world.acme),
        globex=make_assistant(world.globex),
    )


@pytest.fixture
def conversing(
    world: World,
    database: TestDatabase,
    upstream_server: ScriptedServer,
    tmp_path: Path,
) -> Iterator[ModelServer]:
    """Like `model`, but threads are mapped to conversations stored at the model server."""
    environment = {
        **QUICK,
        "OPENAI_BASE_URL": upstream_server.base_url,
        "ATRIUM_UPSTREAM_CONVERSATIONS": "true",
    }
    with serve(database, tmp_path, environment=environment) as server:
        yield ModelServer(
            server=server,
            upstream=upstream_server,
            acme=make_assistant(world.acme),
            globex=make_assistant(world.globex),
        )


def make_assistant(company: Company, **fields: object) -> str:
    """Create an assistant that uses the scripted model, and return its id."""
    with company.scope():
        return str(Assistant.objects.create(name="Scripted", model="test-model", **fields).pk)
