"""A database cluster that may be killed, and processes on it that may be killed."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from django.db import connections

from chat.models import Assistant
from config.local import embedded
from config.local.embedded import Cluster
from tests.clock import wait_until
from tests.crash.invariants import Acknowledged, check_invariants, watch_edges
from tests.crash.model import FaithfulModel, answer_to
from tests.crash.seen import Seen
from tests.database import CHECKOUT, TestDatabase, connect_default, ensure_migrated_template
from tests.model_server import QUICK
from tests.reaper import watch_cluster
from tests.server import Server, build_environment, serve
from tests.world import World, build_world

NAME = "crash"
# A process that only stands still for a while is not taken for dead.
LAPSE_SECONDS = 6.0
# What docs/operations.md promises of a process that died.
TAKE_OVER_SECONDS = 30.0


@dataclass(kw_only=True)
class Stand:
    """Everything a crash happens to, and what clients were told."""

    cluster: Cluster
    database: TestDatabase
    world: World
    model: FaithfulModel
    folder: Path
    assistant: str
    acknowledged: dict[str, Acknowledged] = field(default_factory=dict)
    # Readers of runs, each of which ends with what is stored.
    readers: list[Seen] = field(default_factory=list)
    # Several are started at once, from threads.
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def effects(self) -> Path:
        """Where the tools of the suite leave a line for each effect."""
        return self.folder / "effects"

    def environment(self, **more: str) -> dict[str, str]:
        """Return the variables of a process; `more` come last."""
        return {
            **QUICK,
            "OPENAI_BASE_URL": self.model.base_url,
            "ATRIUM_PROMPT_TOKENS": "4000",
            "ATRIUM_LAPSE_SECONDS": str(LAPSE_SECONDS),
            "ATRIUM_DRAIN_SECONDS": "0.3",
            "ATRIUM_MAX_TAKEOVERS": "2",
            "ATRIUM_DATABASE_WAIT_SECONDS": "3",
            "ATRIUM_TRANSACTION_IDLE_SECONDS": "3",
            "ATRIUM_STATIC_DIR": str(self.folder / "static"),
            "CRASH_EFFECTS": str(self.effects),
            "DJANGO_SETTINGS_MODULE": "tests.crash.settings",
            **more,
        }

    def _new_folder(self) -> Path:
        folder = self.folder / str(next(self.numbers))
        folder.mkdir()
        return folder

    @contextmanager
    def server(self, **more: str) -> Iterator[Server]:
        """Start a server process; whatever is left of it is gone at the end."""
        environment = self.environment(**more)
        with serve(
            self.database, self._new_folder(), environment=environment, pages=False
        ) as server:
            yield server

    @contextmanager
    def worker(self, *arguments: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start `manage.py procrastinate worker`; kill what is left of it at the end."""
        folder = self._new_folder()
        env = {**build_environment(self.database, folder), **self.environment(**more)}
        command = [sys.executable, "manage.py", "procrastinate", "worker", *arguments]
        with (folder / "worker.log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=CHECKOUT, env=env, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                yield process
            finally:
                process.kill()
                process.wait()

    def kill_database(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End the database at once, as `pg_ctl stop -m immediate` or a crash does."""
        pid = self.cluster.get_postmaster_pid()
        assert pid is not None
        os.kill(pid, how)
        # Somebody else may start it again at once.
        wait_until(lambda: self.cluster.get_postmaster_pid() != pid)

    def start_database(self) -> None:
        """Start it again, as `manage.py up` does."""
        embedded.ensure_running(self.cluster.data_dir)

    def reader(self, *, thread: str, run: str) -> Seen:
        """Return a reader that has nothing of a run yet; what it sees is compared at the end."""
        seen = Seen(thread=thread, run=run)
        self.readers.append(seen)
        return seen

    def query(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query that sees every tenant."""
        with self.cluster.connect_as_superuser(NAME) as connection:
            return connection.execute(query, values).fetchall()

    def run(self, run_id: str) -> dict[str, Any]:
        """Return the row of a run."""
        ((row,),) = self.query("SELECT to_jsonb(r) FROM chat_run r WHERE id = %s", run_id)
        found: dict[str, Any] = row
        return found

    def answers(self, run_id: str) -> list[tuple[str, str]]:
        """Return status and text of each message that a run wrote, in their order."""
        return self.query(
            "SELECT status, content->0->'text'->>'value' FROM chat_message "
            "WHERE run_ref = %s ORDER BY position",
            run_id,
        )

    def metered(self, run_id: str, outcome: str) -> list[int]:
        """Return the written tokens of each model call of a run with that outcome."""
        rows = self.query(
            "SELECT quantity::int FROM chat_usage WHERE run_id = %s AND outcome = %s "
            "AND kind = 'output_tokens' AND estimated ORDER BY id",
            run_id,
            outcome,
        )
        return [tokens for (tokens,) in rows]

    def is_settled(self) -> bool:
        """Tell whether no run is under way; not while the database is starting."""
        try:
            ((left,),) = self.query("SELECT count(*) FROM chat_run WHERE ended_at IS NULL")
        except psycopg.OperationalError:
            return False
        return bool(left == 0)

    def breaches(self) -> list[str]:
        """Return what is not as it must be."""
        with self.cluster.connect_as_superuser(NAME) as connection:
            return check_invariants(
                connection,
                acknowledged=self.acknowledged,
                answer_to=answer_to,
                served=self.model.served(),
                effects=self.effects,
                readers=self.readers,
            )


@contextmanager
def crash_stand() -> Iterator[Stand]:
    """Make a cluster, the world in it, and a model server; nothing is left of them at the end.

    The tests' own connection is on that database meanwhile.
    """
    folder = Path(tempfile.mkdtemp(prefix="atrium-test-"))
    folder.chmod(0o711)
    watch_cluster(folder)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        # A commit that waits for nothing would be lost with the server: this one is durable.
        cluster = embedded.ensure_running(folder)
        stack.callback(cluster.stop)
        database = stack.enter_context(_database(cluster))
        model = FaithfulModel()
        model.start()
        stack.callback(model.stop)
        (folder / "static").mkdir()
        world = build_world()
        with cluster.connect_as_superuser(NAME) as connection:
            watch_edges(connection)
        yield Stand(
            cluster=cluster,
            database=database,
            world=world,
            model=model,
            folder=folder,
            assistant=_make_assistant(world),
        )


@contextmanager
def _database(cluster: Cluster) -> Iterator[TestDatabase]:
    cluster.create_database(NAME, ensure_migrated_template(cluster))
    before = dict(connections["default"].settings_dict)
    connect_default(cluster.app_url(NAME))
    owner = psycopg.connect(cluster.owner_url(NAME), autocommit=True)
    try:
        yield TestDatabase(cluster=cluster, name=NAME, owner=owner)
    finally:
        owner.close()
        connections["default"].close()
        connections["default"].settings_dict.update(before)


def _make_assistant(world: World) -> str:
    own = [{"type": "function", "function": {"name": name}} for name in ("note", "die")]
    tools = [*own, {"type": "code_interpreter"}]
    with world.acme.scope():
        made = Assistant.objects.create(name="Faithful", model="test-model", tools=tools)
    return str(made.pk)
