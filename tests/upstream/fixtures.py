"""Fixtures of the test upstream, for `pytest_plugins`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.upstream.server import ScriptedServer


@pytest.fixture(scope="session")
def _upstream_process() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def upstream_server(_upstream_process: ScriptedServer) -> Iterator[ScriptedServer]:
    """The test upstream with nothing set; fails the test on unexpected or unfetched answers."""
    _upstream_process.reset()
    yield _upstream_process
    _upstream_process.assert_done()
