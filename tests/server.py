"""A real server process on the test database."""

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
from tests.log_scan import forbidden_in
from tests.ports import reserved_port

# Only for what hangs: on a busy machine it may take long.
START_SECONDS = 180
# The servers of this test process; those that a test does not use are frozen for as long.
RUNNING: list[Server] = []


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where it answers and what it logs. `process` may be signalled by crash tests.

    `fixture` names the fixture that keeps it over several tests, if one does.
    """

    port: int
    log: Path
    process: subprocess.Popen[bytes]
    database: TestDatabase = field(repr=False)
    fixture: str = ""

    @property
    def url(self) -> str:
        """The address of its pages, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        """The address of its websocket."""
        return f"ws://127.0.0.1:{self.port}/ws/"

    def logged(self) -> str:
        """Return everything it has written to its log."""
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
    """Start a server, wait until it answers, and stop it at the end.

    `folder` takes its data and its log; `environment` adds variables; `fixture`
    names the fixture that keeps it over several tests; without `pages` no static
    files are collected, which takes a second; without `worker` it executes nothing.
    `successor_of` is a server that has ended and whose address this one takes; `grace_seconds`
    is how long open connections are waited for at the end.
    """
    env = {**environment_of(database, folder), **(environment or {})}
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
        assert forbidden_in(server.logged()) == [], "The server's log holds what people wrote."


_FROZEN: set[int] = set()


def only(fixtures: Collection[str]) -> None:
    """Freeze the kept servers of other fixtures, which would take over a test's unheld runs.

    A server that used the database at that moment is let go on and stopped a
    little later: a frozen transaction would block everybody.
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
    """Stop a server for as long, at whatever it does."""
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
    # What the process sent just before may still be on its way to PostgreSQL.
    time.sleep(0.03)
    return database.is_used()


def _thaw() -> None:
    """Let every server go on; the next test freezes those it does not use."""
    for server in RUNNING:
        if server.process.pid in _FROZEN:
            server.process.send_signal(signal.SIGCONT)
    _FROZEN.clear()


def environment_of(database: TestDatabase, folder: Path) -> dict[str, str]:
    """Return the variables of a process of ours on the test database."""
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
