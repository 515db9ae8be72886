"""Test database: a migrated template, copied for each test process, cleaned as the owner.

The tests connect as the application role: a more privileged role would bypass row-level security.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
from django.apps import apps
from django.core.management import call_command
from django.db import connections
from psycopg import sql

from config.local import database_roles, embedded
from config.local.postgres_programs import default_data_dir
from tenants import constraints, row_level_security
from tests.reaper import watch_cluster

CHECKOUT = Path(__file__).resolve().parent.parent
# Tables whose rows are created by `migrate`; tests may rely on them.
MIGRATION_TABLES = ("django_migrations", "django_content_type", "auth_permission")
# Tables written by a server process only once, at its start.
HEARTBEATS = ("chat_process", "procrastinate_workers")
CLEANING_TRIES = 5
WRITE_CONFLICTS = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.ForeignKeyViolation,
)


def data_dir() -> Path:
    """Return the folder of the suite's cluster."""
    named = os.environ.get("ATRIUM_TEST_DATA_DIR")
    return Path(named) if named else default_data_dir(CHECKOUT) / "test"


def build_django_settings(url: str) -> dict[str, Any]:
    """Return Django's settings for one connection without a pool."""
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": parts.username,
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.query.removeprefix("host=")),
    }


@dataclass(kw_only=True)
class TestDatabase:
    """Database of the cluster, with the owner's connection that cleans it."""

    __test__ = False

    cluster: embedded.Cluster
    name: str
    owner: psycopg.Connection[tuple[Any, ...]]
    kept: set[str] = field(default_factory=lambda: set(MIGRATION_TABLES))
    let_go: Callable[[], None] = lambda: None

    @property
    def app_url(self) -> str:
        """URL of the application role, for a server process."""
        return self.cluster.app_url(self.name)

    def tables(self) -> list[str]:
        """Return the tables that tests may write to."""
        rows = self.owner.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
            "AND relkind = 'r' ORDER BY relname"
        ).fetchall()
        return [name for (name,) in rows if name not in self.kept]

    def is_used(self) -> bool:
        """Return True if another connection is running a statement or is in a transaction."""
        row = self.owner.execute(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND state <> 'idle')"
        ).fetchone()
        return bool(row and row[0])

    def clean(self) -> None:
        """Delete the rows of all tables that have any, and rows that refer to them."""
        for _attempt in range(CLEANING_TRIES - 1):
            try:
                self._empty()
            except WRITE_CONFLICTS:
                # A server process was still writing the end of an answer or an indexed document,
                # or was frozen while it sent a statement.
                self.let_go()
                continue
            return
        self._empty()

    def _empty(self) -> None:
        with self.owner.transaction():
            filled = [table for table in self.tables() if self._has_rows(table)]
            for table in filled:
                # DELETE is faster for a few rows: TRUNCATE creates new files for each table.
                self.owner.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))

    def _has_rows(self, table: str) -> bool:
        query = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(table))
        row = self.owner.execute(query).fetchone()
        return bool(row and row[0])

    def remember(self) -> None:
        """Save the current contents of the tables for `restore`."""
        with self.owner.transaction():
            self.owner.execute("DROP SCHEMA IF EXISTS kept CASCADE")
            self.owner.execute("CREATE SCHEMA kept")
            for table in self.tables():
                if self._has_rows(table):
                    self.owner.execute(
                        sql.SQL("CREATE TABLE kept.{0} AS TABLE public.{0}").format(
                            sql.Identifier(table)
                        )
                    )

    def restore(self) -> None:
        """Fill the empty tables with the rows saved by `remember`; foreign keys are deferred."""
        rows = self.owner.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'kept'::regnamespace "
            "AND relkind = 'r'"
        ).fetchall()
        with self.owner.transaction():
            for (table,) in rows:
                self.owner.execute(
                    sql.SQL(
                        "INSERT INTO public.{0} OVERRIDING SYSTEM VALUE SELECT * FROM kept.{0}"
                    ).format(sql.Identifier(table))
                )


@contextmanager
def test_database(worker: str) -> Iterator[TestDatabase]:
    """Create a database for this test process, with alias `default` connected as the app."""
    watch_cluster(data_dir())
    with embedded.running(data_dir(), durable=False) as cluster:
        template = ensure_migrated_template(cluster)
        name = f"test_{worker}_{os.getpid()}"
        cluster.drop_database(name)
        cluster.create_database(name, template)
        connect_default(cluster.app_url(name))
        owner = psycopg.connect(cluster.owner_url(name), autocommit=True)
        # A transaction left open should fail the test instead of blocking it.
        owner.execute("SET lock_timeout = '10s'")
        try:
            yield TestDatabase(cluster=cluster, name=name, owner=owner)
        finally:
            owner.close()
            connections.close_all()
            cluster.drop_database(name)


test_database.__test__ = False  # type: ignore[attr-defined]


def connect_default(url: str) -> None:
    """Connect this process's `default` alias to another database."""
    connection = connections["default"]
    connection.close()
    connection.settings_dict.update({"OPTIONS": {}, **build_django_settings(url)})


def ensure_migrated_template(cluster: embedded.Cluster) -> str:
    """Return the name of a migrated database, created once per state of the migrations."""
    name = f"test_template_{_hash_migrations()}"
    with (cluster.data_dir / "template.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        present = _list_databases(cluster)
        if name not in present:
            _drop_leftovers(cluster, present)
            cluster.drop_database(f"{name}_unfinished")
            cluster.create_database(f"{name}_unfinished")
            _migrate(cluster.owner_url(f"{name}_unfinished"))
            cluster.execute([f'ALTER DATABASE "{name}_unfinished" RENAME TO "{name}"'])
    return name


def _migrate(url: str) -> None:
    template = {**connections["default"].settings_dict, "OPTIONS": {}, **build_django_settings(url)}
    connections.settings["owner"] = template
    try:
        call_command("migrate", database="owner", verbosity=0, interactive=False)
    finally:
        connections["owner"].close()
        del connections["owner"]
        del connections.settings["owner"]


def _list_databases(cluster: embedded.Cluster) -> list[str]:
    with cluster.connect_as_superuser() as connection:
        rows = connection.execute("SELECT datname FROM pg_database").fetchall()
    return [name for (name,) in rows]


def _drop_leftovers(cluster: embedded.Cluster, present: list[str]) -> None:
    """Drop old templates and the databases of killed test processes."""
    for name in present:
        pid = name.rpartition("_")[2]
        if name.startswith("test_template_") or (
            name.startswith("test_") and pid.isdigit() and not Path(f"/proc/{pid}").exists()
        ):
            cluster.drop_database(name)


def _hash_migrations() -> str:
    digest = hashlib.sha256()
    sources = [
        Path(str(module.__file__)) for module in (row_level_security, constraints, database_roles)
    ]
    for app in apps.get_app_configs():
        sources += sorted((Path(app.path) / "migrations").glob("*.py"))
        digest.update(app.label.encode())
    for source in sources:
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()[:16]
