"""Two server processes and a Redis between them, beside the scripted model."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clock import wait_until
from tests.database import HEARTBEATS, TestDatabase
from tests.model_server import QUICK, make_assistant
from tests.server import Server, serve
from tests.upstream.server import ScriptedServer
from tests.world import World


class Redis:
    """A Redis of our own that may be killed and started again; it keeps nothing on disk."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program, self.folder = program, folder
        self.path = folder / "redis.sock"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def start(self) -> None:
        command = [
            *(self.program, "--port", "0", "--unixsocket", str(self.path)),
            *("--save", "", "--appendonly", "no", "--dir", str(self.folder)),
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(self._answers)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.path))
                probe.sendall(b"PING\r\n")
                return probe.recv(5) == b"+PONG"
            except OSError:
                return False

    def cut_off_listeners(self) -> None:
        """Close the connections by which processes hear each other."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.path))
            client.sendall(b"CLIENT KILL TYPE pubsub\r\n")
            assert int(client.recv(20).removeprefix(b":")) >= 2

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Kill it for a while."""
        self.kill()
        try:
            yield
        finally:
            self.start()


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    program = shutil.which("redis-server")
    if program is None:
        if "redis" in os.environ.get("ATRIUM_REQUIRE", ""):
            pytest.fail("There is no redis-server on the path.")
        pytest.skip("There is no redis-server on the path.")
    # A socket's path is short; the folders of tests are not.
    server = Redis(program, tmp_path_factory.mktemp("r"))
    server.start()
    yield server
    server.kill()


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two server processes on one database and one Redis, and an assistant on the model."""

    a: Server
    b: Server
    redis: Redis
    upstream: ScriptedServer
    assistant: str


def environment(upstream: ScriptedServer, redis: Redis) -> dict[str, str]:
    """Return the variables of a process among several."""
    return {**QUICK, "OPENAI_BASE_URL": upstream.base_url, "REDIS_URL": redis.url}


@contextmanager
def served(
    database: TestDatabase,
    folder: Path,
    upstream: ScriptedServer,
    redis: Redis,
    *,
    fixture: str = "",
    **more: str,
) -> Iterator[Server]:
    """Start one more process on the same database and Redis; `more` are variables of its own."""
    with serve(
        database,
        folder,
        environment={**environment(upstream, redis), **more},
        fixture=fixture,
        pages=False,
    ) as server:
        yield server


@pytest.fixture(scope="session")
def _a(
    database: TestDatabase,
    _upstream_process: ScriptedServer,
    redis: Redis,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    database.kept.update(HEARTBEATS)
    with served(
        database, tmp_path_factory.mktemp("a"), _upstream_process, redis, fixture="_a"
    ) as server:
        yield server


@pytest.fixture(scope="session")
def _b(
    database: TestDatabase,
    _upstream_process: ScriptedServer,
    redis: Redis,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    with served(
        database, tmp_path_factory.mktemp("b"), _upstream_process, redis, fixture="_b"
    ) as server:
        yield server


@pytest.fixture
def pair(
    world: World, _a: Server, _b: Server, redis: Redis, upstream_server: ScriptedServer
) -> Pair:
    """Both processes; unexpected and unfetched answers of the model fail the test."""
    return Pair(
        a=_a, b=_b, redis=redis, upstream=upstream_server, assistant=make_assistant(world.acme)
    )
