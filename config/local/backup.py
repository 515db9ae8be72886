"""Backup, restore and major-version upgrade of the embedded database.

A backup is one file in pg_dump's custom format: the rows, not the secrets of the data folder. On
failure, the functions raise EmbeddedError with a one-line message and change nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from psycopg import OperationalError

from config.local.database_roles import OWNER, build_access_statements
from config.local.embedded import MAIN, SUPERUSER, Cluster, ensure_running, open_any_major
from config.local.postgres_programs import MAJOR, EmbeddedError, find_packaged_programs

_INCOMING, _OUTGOING = "atrium_restoring", "atrium_replaced"


def backup(cluster: Cluster, file: Path) -> None:
    """Write the main database of a running cluster to a new file of mode 0600."""
    if file.exists():
        raise EmbeddedError(f"{file} already exists. Choose another file or remove it.")
    partial = file.with_name(f".{file.name}.partial")
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
    except OSError as error:
        raise EmbeddedError(f"{file} cannot be written: {error.strerror}.") from None
    try:
        newest = find_packaged_programs(cluster.data_dir, cluster.programs.account)
        _run(cluster, newest.folder / "pg_dump", "--format=custom", "--file", partial, MAIN)
        partial.rename(file)
    finally:
        partial.unlink(missing_ok=True)


def restore(cluster: Cluster, file: Path) -> None:
    """Replace the main database with a backup, after all of the backup has been restored."""
    if not file.is_file():
        raise EmbeddedError(f"File {file} not found.")
    _refuse_while_connected(cluster)
    cluster.drop_database(_INCOMING)
    cluster.execute([f"CREATE DATABASE {_INCOMING} OWNER {OWNER} TEMPLATE template0"])
    try:
        program = cluster.programs.folder / "pg_restore"
        _run(cluster, program, "--single-transaction", "--dbname", _INCOMING, file)
        _refuse_while_connected(cluster)
    except EmbeddedError:
        cluster.drop_database(_INCOMING)
        raise
    cluster.drop_database(_OUTGOING)
    with cluster.connect_as_superuser() as connection, connection.transaction():
        connection.execute(f"ALTER DATABASE {MAIN} RENAME TO {_OUTGOING}")
        connection.execute(f"ALTER DATABASE {_INCOMING} RENAME TO {MAIN}")
    cluster.execute(build_access_statements(MAIN))
    cluster.drop_database(_OUTGOING)


def upgrade(data_dir: Path) -> Path:
    """Upgrade the database to this version's PostgreSQL; return the folder with the old files."""
    old = open_any_major(data_dir)
    if old is None:
        raise EmbeddedError(f"There is no embedded database in {data_dir} yet.")
    if old.programs.major == MAJOR:
        raise EmbeddedError(f"The database in {data_dir} is already PostgreSQL {MAJOR}.")
    dump = data_dir / f"upgrade-from-{old.programs.major}.backup"
    dump.unlink(missing_ok=True)
    old.start()
    try:
        backup(old, dump)
    finally:
        old.stop()
    kept = old.data.with_name(f"data.{old.programs.major}")
    if kept.exists():
        raise EmbeddedError(f"{kept} already exists. Move or remove it.")
    old.data.rename(kept)
    old.prepared.unlink(missing_ok=True)
    try:
        new = ensure_running(data_dir)
        restore(new, dump)
        new.stop()
    except (EmbeddedError, OperationalError):
        old.stop()
        shutil.rmtree(old.data, ignore_errors=True)
        kept.rename(old.data)
        raise
    dump.unlink()
    return kept


def _refuse_while_connected(cluster: Cluster) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    with cluster.connect_as_superuser() as connection:
        row = connection.execute(query, [MAIN]).fetchone()
    if row and row[0]:
        raise EmbeddedError("The database is in use. Stop Atrium and its commands first.")


def _run(cluster: Cluster, program: Path, *arguments: str | Path) -> None:
    address = {"PGHOST": str(cluster.socket_dir), "PGPORT": "5432"}
    credentials = {"PGUSER": SUPERUSER, "PGPASSWORD": cluster.passwords[SUPERUSER]}
    result = subprocess.run(
        [program, "--no-password", *arguments],
        env={"PATH": os.defpath, "LC_ALL": "C", **address, **credentials},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no reason given"]
        raise EmbeddedError(f"{program.name} failed: {lines[0]}")
