"""A server with the demonstration model, as a fresh installation has it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI

from tests.api.conftest import program_of
from tests.database import HEARTBEATS, TestDatabase
from tests.server import Server, serve
from tests.world import World

ENVIRONMENT = {
    "ATRIUM_DEMO_TOKENS_PER_SECOND": "1000",
    "ATRIUM_API_REQUESTS_PER_MINUTE": "1000000",
    "ATRIUM_API_REQUESTS_PER_MINUTE_PER_TENANT": "1000000",
}


@pytest.fixture(scope="package")
def _demonstration(
    database: TestDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    database.kept.update(HEARTBEATS)
    folder = tmp_path_factory.mktemp("demonstration")
    with serve(database, folder, environment=ENVIRONMENT, fixture="_demonstration") as server:
        yield server


@pytest.fixture
def demonstration(world: World, _demonstration: Server) -> Server:
    """The server process, beside the two-tenant world."""
    return _demonstration


@pytest.fixture
def client(demonstration: Server, world: World) -> Iterator[OpenAI]:
    """A client with a key of adam's."""
    key = program_of(world.acme, "adam").secret
    with OpenAI(base_url=f"{demonstration.url}/v1", api_key=key, max_retries=0) as made:
        yield made
