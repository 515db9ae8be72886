"""Real server processes on the test database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from tests.database import CHECKOUT, TestDatabase
from tests.log_scan import find_forbidden
from tests.ports import reserved_port

# Only to detect a hang: on a busy machine the start may take long.
START_SECONDS = 180
# Servers of this test process; those that a test does not use are frozen meanwhile.
RUNNING: list[Server] = []


@dataclass(frozen=True, kw_only=True)
class Server:
    """Running server process with its address and log. Crash tests may signal `process`.

    `fixture` is the name of the fixture that shares it between tests, if any.
    """

    port: int
    log: Path
    process: subprocess.Popen[bytes]
    database: TestDatabase = field(repr=False)
    fixture: str = ""

    @property
    def url(self) -> str:
        """Base URL of its pages, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        """URL of its websocket."""
        return f"ws://127.0.0.1:{self.port}/ws/"

    def logged(self) -> str:
        """Return the contents of its log."""
        return self.log.read_text()


@contextmanager
def serve(
    database: TestDatabase,
    folder: Path,
    *,
    environment: dict[str, str] | None = None,
    fixture: str = "",
    pages: bool = True,
    worker: bool = True,
    successor_of: Server | None = None,
    grace_seconds: int = 3,
) -> Iterator[Server]:
    """Start a server, wait until it is ready, and stop it when the context exits.

    Its data and log are written to `folder`. `environment` adds variables. `fixture` is the name
    of the fixture that shares the server between tests. Without `pages`, static files are not
    collected, which saves a second. Without `worker`, it executes no runs or jobs.
    `successor_of` is an ended server whose address is reused. `grace_seconds` is the time limit
    for open connections at shutdown.
    """
    env = {**build_environment(database, folder), **(environment or {})}
    if pages:
        _collect_static(env)
    log = folder / "server.log"
    address = nullcontext(successor_of.port) if successor_of else reserved_port()
    with address as port, log.open("wb") as output:
        command = [
            *(sys.executable, "-m", "uvicorn", "config.asgi:application"),
            *("--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"),
            *("--http", "config.connections:HttpProtocol"),
            *("--ws", "websockets-sansio", "--ws-per-message-deflate", "false"),
            *("--timeout-graceful-shutdown", str(grace_seconds)),
            *("--lifespan", "on" if worker else "off"),
        ]
        process = subprocess.Popen(
            command, cwd=CHECKOUT, env=env, stdout=output, stderr=subprocess.STDOUT
        )
        server = Server(port=port, log=log, process=process, database=database, fixture=fixture)
        RUNNING.append(server)
        database.let_go = _thaw
        try:
            _wait_until_ready(server)
            yield server
        finally:
            RUNNING.remove(server)
            _FROZEN.discard(process.pid)
            process.send_signal(signal.SIGCONT)
            _stop(process)
        assert find_forbidden(server.logged()) == [], "The server's log holds what people wrote."


_FROZEN: set[int] = set()


def freeze_other_servers(fixtures: Collection[str]) -> None:
    """Freeze shared servers of other fixtures, which would claim unowned runs of the test.

    A server that is using the database is resumed and frozen a little later, since a frozen
    transaction would block all others.
    """
    for server in RUNNING:
        process, wanted = server.process, not server.fixture or server.fixture in fixtures
        if wanted and process.pid in _FROZEN:
            process.send_signal(signal.SIGCONT)
            _FROZEN.discard(process.pid)
        elif not wanted and process.pid not in _FROZEN:
            _freeze(process, server.database)


@contextmanager
def suspended(server: Server) -> Iterator[None]:
    """Suspend a server process with SIGSTOP inside the context."""
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


def _freeze(process: subprocess.Popen[bytes], database: TestDatabase) -> None:
    process.send_signal(signal.SIGSTOP)
    while any(_is_used_in_a_moment(database) for _look in range(2)):
        process.send_signal(signal.SIGCONT)
        time.sleep(0.02)
        process.send_signal(signal.SIGSTOP)
    _FROZEN.add(process.pid)


def _is_used_in_a_moment(database: TestDatabase) -> bool:
    # A statement sent just before the freeze may not have reached PostgreSQL yet.
    time.sleep(0.03)
    return database.is_used()


def _thaw() -> None:
    """Resume all frozen servers; the next test freezes those it does not use."""
    for server in RUNNING:
        if server.process.pid in _FROZEN:
            server.process.send_signal(signal.SIGCONT)
    _FROZEN.clear()


def build_environment(database: TestDatabase, folder: Path) -> dict[str, str]:
    """Return the environment of an Atrium process on the test database."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ATRIUM_", "OPENAI_", "DATABASE_", "MIGRATION_"))
    }
    return {
        **inherited,
        "DATABASE_URL": database.app_url,
        "SECRET_KEY": settings.SECRET_KEY,
        "FIELD_ENCRYPTION_KEYS": ",".join(settings.SALT_KEY),
        "ATRIUM_DATA_DIR": str(folder),
        "ATRIUM_STATIC_DIR": str(database.cluster.data_dir / "static"),
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }


def _collect_static(env: dict[str, str]) -> None:
    code = (
        "import django; django.setup(); "
        "from config.local.supervisor import collect_static; collect_static(lambda line: None)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, env=env, check=True)


def _wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{server.url}/healthz", timeout=START_SECONDS):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"The server did not start:\n{server.logged()[-4000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
