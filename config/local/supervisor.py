"""Supervisor of `manage.py up`: prepare, serve, stop cleanly.

The server is a child process with only the application's credentials. It is restarted if it exits
by itself, ended when this process ends (even by SIGKILL), and drained first on Ctrl-C and SIGTERM;
the database stops last, with the context of `config.local.environment`. An embedded database that
exits by itself is restarted, and the server reconnects to it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import json
import math
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from uuid import UUID, uuid4

import psycopg
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.checks import Tags, run_checks
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from config.local import embedded, prewarmed
from config.local.postgres_programs import EmbeddedError, make_data_dir

READY_SECONDS = 120
STEADY_SECONDS = 60
MAX_PAUSE = 30.0
DATABASE_POLL_SECONDS = 0.5
PROBE_SECONDS = 0.5  # for a model server on this machine
MIN_FRAME_LIMIT = 1_048_576
MAX_PREDECESSORS = 100
MODEL_SERVERS = {"Ollama": 11434, "LM Studio": 1234, "llama.cpp": 8080, "vLLM": 8000}


def check_databases() -> None:
    """Raise CommandError with the first variable whose server does not answer."""
    for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL"):
        if address := os.environ.get(name):
            try:
                psycopg.connect(address, connect_timeout=5).close()
            except psycopg.OperationalError as error:
                reason = str(error).strip().splitlines()[0]
                raise CommandError(f"{name} does not answer: {reason}") from None


def migrate(say: Callable[[str], None]) -> None:
    """Apply pending migrations; fast if there are none.

    Raises:
        CommandError: migrations are pending and MIGRATION_DATABASE_URL is not set.
    """
    alias = "owner" if "owner" in connections.settings else "default"
    executor = MigrationExecutor(connections[alias])
    waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if waiting:
        if alias != "owner":
            raise CommandError(
                f"{len(waiting)} migrations are pending. Set MIGRATION_DATABASE_URL to the owner's "
                "URL."
            )
        say("Applying database migrations…")
        call_command("migrate", database=alias, verbosity=0, interactive=False)
    connections[alias].close()


def check_tenant_isolation() -> None:
    """Raise CommandError if a table or a database role does not enforce tenant isolation."""
    found = run_checks(tags=[Tags.models, Tags.database], databases=["default"])
    serious = [message for message in found if message.is_serious()]
    if serious:
        raise CommandError(" ".join(message.msg for message in serious))


def collect_static(say: Callable[[str], None]) -> None:
    """Collect the static files if one of them has changed since the last time."""
    if settings.DEBUG:
        return
    root = Path(settings.STATIC_ROOT)
    stamp = root.with_name(f"{root.name}.listing")
    make_data_dir(root.parent)
    with stamp.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        listing = _digest_static_files()
        if root.exists() and stamp.exists() and stamp.read_text() == listing:
            return
        say("Collecting static files…")
        call_command("collectstatic", verbosity=0, interactive=False)
        prewarmed.discard()  # it has loaded the old list of files
        stamp.write_text(listing)


def _digest_static_files() -> str:
    """Return a digest of every static file's name, size and modification time."""
    digest = hashlib.sha256(repr(settings.STORAGES["staticfiles"]).encode())
    for finder in get_finders():
        for name, storage in finder.list([]):
            status = Path(storage.path(name)).stat()
            digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def check_port(host: str, port: int) -> None:
    """Raise CommandError if the address cannot be bound."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CommandError(f"Port {port} is in use. Choose another with --port.") from None
        raise CommandError(f"Cannot listen on {host}:{port}: {error.strerror}.") from None


def build_server_arguments(host: str, port: int) -> list[str]:
    """Return uvicorn's arguments for the server process.

    Forwarded addresses are accepted only from TRUSTED_PROXIES: sign-in limits count by address.
    """
    seconds = max(1, math.ceil(settings.CHAT["DRAIN_SECONDS"]))
    trusted = ",".join(settings.TRUSTED_PROXIES)
    return [
        *(("--forwarded-allow-ips", trusted) if trusted else ("--no-proxy-headers",)),
        # Frames slightly over FRAME_BYTES get an error message; beyond this size the socket is
        # closed.
        *("--ws-max-size", str(max(MIN_FRAME_LIMIT, 2 * settings.CHAT["FRAME_BYTES"]))),
        *("--http", "config.connections:HttpProtocol"),
        *("config.asgi:application", "--host", host, "--port", str(port), "--lifespan", "on"),
        *("--ws", "websockets-sansio", "--ws-per-message-deflate", "false"),
        *("--timeout-graceful-shutdown", str(seconds)),
        *("--log-level", "warning", "--no-access-log", "--no-server-header"),
    ]


def find_model_servers(*, except_port: int) -> list[str]:
    """Return a line for each model server on this machine that lists models."""
    places = {name: port for name, port in MODEL_SERVERS.items() if port != except_port}
    with ThreadPoolExecutor(len(places)) as pool:
        return [
            line for line in pool.map(_ask_for_models, *zip(*places.items(), strict=True)) if line
        ]


def _ask_for_models(name: str, port: int) -> str | None:
    address = f"http://127.0.0.1:{port}/v1"
    try:
        with urllib.request.urlopen(f"{address}/models", timeout=PROBE_SECONDS) as answer:  # nosec B310
            listed = json.load(answer)["data"]
            models = [str(model["id"]) for model in listed]
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return None
    if not models:
        return None
    return f"{name} at {address} with {', '.join(models[:5])}"


@dataclass(kw_only=True)
class Supervisor:
    """Keeps one server process running until stopped.

    `database` is the data folder of an embedded database, which is kept running as well.
    """

    host: str
    port: int
    say: Callable[[str], None]
    database: Path | None = None
    signals: int = 0
    child: subprocess.Popen[str] | None = field(default=None, init=False)
    _child_id: UUID | None = field(default=None, init=False)
    # Children that have exited; each successor receives all whose claims may be left.
    _dead: list[UUID] = field(default_factory=list, init=False)
    _database_at: float = field(default=0, init=False)
    _database_pause: float = field(default=1.0, init=False)

    def run(self, *, on_ready: Callable[[], None]) -> None:
        """Serve until SIGINT, SIGTERM or SIGHUP. Raises CommandError if it fails to start."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)
        try:
            self._serve(on_ready)
        finally:
            prewarmed.discard()

    def _serve(self, on_ready: Callable[[], None]) -> None:
        pause = 1.0
        first = True
        while not self._is_stopping():
            self._keep_database()
            began = time.monotonic()
            self._spawn()
            if self._is_stopping():  # the signal came while the child was being created
                self._send_signal(signal.SIGTERM)
            if first and self._wait_until_ready():
                first = False
                on_ready()
            status = self._wait_for_exit()
            if self._is_stopping():
                return
            if first:
                raise CommandError("The server did not start. See its output above.")
            pause = 1.0 if time.monotonic() - began > STEADY_SECONDS else pause
            self.say(
                f"The server exited unexpectedly (status {status}); restarting in {pause:.0f} s."
            )
            prewarmed.begin_early()  # it imports during the pause
            self._sleep(pause)
            pause = min(pause * 2, MAX_PAUSE)

    def _wait_for_exit(self) -> int:
        """Wait for the child and return its status; keep its database running meanwhile."""
        assert self.child is not None
        assert self._child_id is not None
        while True:
            try:
                status = self.child.wait(DATABASE_POLL_SECONDS if self.database else None)
            except subprocess.TimeoutExpired:
                self._keep_database()
            else:
                self._dead = [*self._dead, self._child_id][-MAX_PREDECESSORS:]
                return status

    def _keep_database(self) -> None:
        """Restart the embedded database if it exited by itself."""
        if self.database is None or self._is_stopping() or time.monotonic() < self._database_at:
            return
        cluster = embedded.locate(self.database)
        if cluster is None or cluster.is_running():
            return
        self.say("The database exited unexpectedly; restarting it.")
        try:
            embedded.ensure_running(self.database)
        except EmbeddedError as error:
            self.say(f"{error} Retrying in {self._database_pause:.0f} s.")
            self._database_at = time.monotonic() + self._database_pause
            self._database_pause = min(self._database_pause * 2, MAX_PAUSE)
        else:
            self._database_pause = 1.0

    def _spawn(self) -> None:
        self.child, self._child_id = prewarmed.take(), uuid4()
        identity = {
            "process_id": str(self._child_id),
            "predecessors": [str(dead) for dead in self._dead],
        }
        prewarmed.serve(self.child, build_server_arguments(self.host, self.port), identity=identity)

    def _wait_until_ready(self) -> bool:
        """Wait for the first response; return False if the child exited or never answers."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and not self._is_stopping():
            if self.child is None or self.child.poll() is not None:
                return False
            if is_answering(self.host, self.port):
                return True
            time.sleep(0.03)
        if not self._is_stopping():
            self._send_signal(signal.SIGTERM)
        return False

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Drain on the first signal; kill on the second."""
        self.signals += 1
        self._send_signal(signal.SIGTERM if self.signals == 1 else signal.SIGKILL)

    def _is_stopping(self) -> bool:
        return self.signals > 0

    def _send_signal(self, number: int) -> None:
        if self.child is not None and self.child.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.child.pid, number)

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._is_stopping() and time.monotonic() < end:
            time.sleep(0.1)


def is_answering(host: str, port: int) -> bool:
    """Return True if /healthz answers 200 at the address."""
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # nosec B104
    name = str(settings.ALLOWED_HOSTS[0]).lstrip(".")
    connection = http.client.HTTPConnection(address, port, timeout=2)
    try:
        connection.request(
            "GET", "/healthz", headers={"Host": "localhost" if name == "*" else name}
        )
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
