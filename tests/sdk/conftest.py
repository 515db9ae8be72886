"""A server with the demonstration model, as a fresh installation has it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
