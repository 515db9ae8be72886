"""Embedded PostgreSQL: one cluster per data folder, on a private socket, with passwords.

In the data folder:

    database.json        passwords of the three login roles, mode 0600
    database.lock        held while the server is started or stopped
    database.users       shared lock of every process using the server; the last one stops it
    postgres/            mode 0700, owned by the server's system account
        data/            the cluster   server.log   run/ the socket
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import psycopg

from config.local.database_roles import (
    APP,
    OWNER,
    build_access_statements,
    build_content_statements,
    build_role_statements,
)
from config.local.postgres_programs import (
    MAJOR,
    Account,
    EmbeddedError,
    Programs,
    ensure_server_account,
    find_packaged_programs,
    is_reachable,
    make_data_dir,
)

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

SUPERUSER = "atrium_superuser"
MAIN, TEMPLATE = "atrium", "atrium_template"
START_SECONDS = 120
STOP_SECONDS = 30
ORPHAN_SECONDS = 30
_SOCKET_NAME = ".s.PGSQL.5432"
_MAX_SOCKET_PATH_LENGTH = 103  # the lower of the limits of Linux (107) and macOS (103)

_CONFIGURATION = """\
# Written by Atrium at every start.
listen_addresses = ''
unix_socket_directories = '{socket_dir}'
unix_socket_permissions = 0700
password_encryption = 'scram-sha-256'
max_connections = 200
shared_buffers = '128MB'
log_min_messages = warning
log_checkpoints = off
# Failed statements and their details may contain user content.
log_min_error_statement = panic
log_error_verbosity = terse
log_timezone = 'UTC'
timezone = 'UTC'
{recovery}{durability}"""
# After a crash, sync the whole file system at once instead of each file of the folder.
_RECOVERY = "recovery_init_sync_method = syncfs\n" if sys.platform == "linux" else ""
_NOT_DURABLE = "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"
_AUTHENTICATION = "# Written by Atrium at every start.\n" + "".join(
    f"local all {role} scram-sha-256\n" for role in (SUPERUSER, OWNER, APP)
)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A database cluster in a data folder. Its methods raise EmbeddedError."""

    data_dir: Path
    programs: Programs
    socket_dir: Path
    passwords: dict[str, str]

    @property
    def home(self) -> Path:
        """The folder owned by the server's account."""
        return self.data_dir / "postgres"

    @property
    def data(self) -> Path:
        """The cluster's data directory."""
        return self.home / "data"

    def url(self, role: str, db: str = MAIN) -> str:
        """Return a connection URL with the role's password."""
        password = self.passwords[role]
        return f"postgresql://{role}:{password}@/{db}?host={quote(str(self.socket_dir))}"

    def app_url(self, db: str = MAIN) -> str:
        """Return the URL of the application role."""
        return self.url(APP, db)

    def owner_url(self, db: str = MAIN) -> str:
        """Return the URL of the owner role, which runs migrations."""
        return self.url(OWNER, db)

    def connect_as_superuser(self, db: str = "postgres") -> Connection:
        """Return a connection in autocommit mode as the superuser."""
        return psycopg.connect(self.url(SUPERUSER, db), autocommit=True)

    def execute(self, statements: list[str], *, db: str = "postgres") -> None:
        """Run statements one at a time as the superuser."""
        with self.connect_as_superuser(db) as connection:
            for statement in statements:
                connection.execute(statement)

    def create_database(self, name: str, template: str | None = None) -> None:
        """Create a database owned by atrium_owner, from our template or another one."""
        self.execute(
            [
                f'CREATE DATABASE "{name}" OWNER {OWNER} TEMPLATE "{template or TEMPLATE}"',
                *build_access_statements(name),
            ]
        )

    def drop_database(self, name: str) -> None:
        """Drop a database and end its connections; a missing one is no error."""
        self.execute([f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'])

    def is_running(self) -> bool:
        """Return True if the server is running, even one left by another process."""
        return self.get_postmaster_pid() is not None

    def get_postmaster_pid(self) -> int | None:
        """Return the server's process id, or None if no server uses these files."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None
        return pid if _is_postgres(pid) else None

    def stop(self) -> None:
        """Stop the server and wait until it has exited; a stopped server is no error."""
        with _lock_folder(self.data_dir):
            self._stop()

    def _stop(self) -> None:
        for how in (signal.SIGINT, signal.SIGQUIT):  # fast shutdown, then immediate
            pid = self.get_postmaster_pid()
            if pid is None:
                return
            os.kill(pid, how)
            if _wait_until(lambda: self.get_postmaster_pid() is None, STOP_SECONDS):
                return
        raise EmbeddedError(f"The database in {self.data_dir} did not stop. See {self._log}.")

    def start(self, *, durable: bool = True) -> None:
        """Start the server and wait until it answers; do nothing if it is running."""
        if self.get_postmaster_pid() is not None:
            return
        crashed = self._clear_stale_file()
        self._configure(durable=durable)
        # The children of a killed server need a moment to exit; until then it refuses to start.
        deadline = time.monotonic() + (ORPHAN_SECONDS if crashed else 0)
        while not self._try_start():
            if time.monotonic() > deadline:
                raise EmbeddedError(f"The database did not start. See {self._log}.")
            time.sleep(0.1)

    def _clear_stale_file(self) -> bool:
        """Return True if a killed server left its pid file; remove a file that would mislead.

        PostgreSQL itself handles a file whose process is gone, but refuses to start if the number
        now belongs to another process, even one that is no database.
        """
        file = self.data / "postmaster.pid"
        if not file.exists():
            return False
        number = file.read_text().split("\n", 1)[0]
        if number.isdigit() and _is_alive(int(number)):
            file.unlink()
        return True

    def _try_start(self) -> bool:
        try:
            self.programs.run(
                *("pg_ctl", "start", "-w", "-s", "-t", str(START_SECONDS)),
                *("-D", self.data, "-l", self._log),
            )
        except EmbeddedError:
            return False
        return True

    @property
    def _log(self) -> Path:
        return self.home / "server.log"

    def _configure(self, *, durable: bool) -> None:
        settings = _CONFIGURATION.format(
            socket_dir=self.socket_dir,
            recovery=_RECOVERY,
            durability="" if durable else _NOT_DURABLE,
        )
        for name, text in (("postgresql.conf", settings), ("pg_hba.conf", _AUTHENTICATION)):
            path = self.data / name
            if not path.exists() or path.read_text() != text:
                self._write(path, text)

    def _write(self, path: Path, text: str) -> None:
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(text)
        self.programs.account.take_ownership(path)

    def _initialise(self, *, durable: bool) -> None:
        """Create the files of a new cluster; an interrupted attempt leaves nothing behind."""
        partial = self.home / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        password = self.home / "superuser.password"
        self._write(password, self.passwords[SUPERUSER])
        try:
            self.programs.run(
                *("initdb", "-D", partial, "-U", SUPERUSER, "--pwfile", password),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums"),
                *("--no-instructions", *_get_locale_options(self.programs.major)),
                *(() if durable else ("--no-sync",)),
            )
        finally:
            password.unlink()
        partial.rename(self.data)

    def _prepare_databases(self) -> None:
        """Create the roles, the template and the main database; safe to repeat if interrupted."""
        roles = build_role_statements(
            owner_password=self.passwords[OWNER], app_password=self.passwords[APP]
        )
        closed = [
            f"REVOKE ALL ON DATABASE {name} FROM PUBLIC" for name in ("postgres", "template1")
        ]
        self.execute([*roles, *closed])
        with self.connect_as_superuser() as connection:
            rows = connection.execute("SELECT datname FROM pg_database").fetchall()
        present = {row[0] for row in rows}
        if TEMPLATE not in present:
            self.execute([f"CREATE DATABASE {TEMPLATE} OWNER {OWNER} TEMPLATE template0"])
        self.execute([f"REVOKE ALL ON DATABASE {TEMPLATE} FROM PUBLIC"])
        self.execute(build_content_statements(), db=TEMPLATE)
        if MAIN not in present:
            self.create_database(MAIN)
        self.execute(build_access_statements(MAIN))
        self._write(self.prepared, "")

    @property
    def prepared(self) -> Path:
        """Marker file of a cluster that has its roles and databases."""
        return self.home / "prepared"


def ensure_running(data_dir: Path | str, *, durable: bool = True) -> Cluster:
    """Return the cluster in `data_dir`, created and started if needed.

    A server left by a killed process is used as it is. `durable=False` is for tests: nothing waits
    for the disk, and a power cut may destroy the files. Raises EmbeddedError.
    """
    place = Path(data_dir).resolve()
    make_data_dir(place)
    with _lock_folder(place):
        cluster = _open_cluster(place)
        if not (cluster.data / "PG_VERSION").exists():
            cluster._initialise(durable=durable)
        cluster.start(durable=durable)
        if not cluster.prepared.exists():
            cluster._prepare_databases()
        return cluster


def locate(data_dir: Path | str) -> Cluster | None:
    """Return the cluster in `data_dir` without starting it, or None if there is none."""
    place = Path(data_dir).resolve()
    if not (place / "postgres" / "data" / "PG_VERSION").exists():
        return None
    return _open_cluster(place)


def is_app_url(data_dir: Path | str, url: str) -> bool:
    """Return True if `url` is the application role's URL of the cluster in `data_dir`."""
    cluster = locate(data_dir)
    return cluster is not None and cluster.app_url() == url


def open_any_major(data_dir: Path | str) -> Cluster | None:
    """Return the cluster like `locate`, with the programs of the version that made the files."""
    place = Path(data_dir).resolve()
    if not (place / "postgres" / "data" / "PG_VERSION").exists():
        return None
    return _open_cluster(place, any_major=True)


@contextmanager
def running(data_dir: Path | str, *, durable: bool = True) -> Iterator[Cluster]:
    """Run the cluster inside the context; its last user stops it, unless `keep_running` is set."""
    place = Path(data_dir).resolve()
    make_data_dir(place)
    with (place / "database.users").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        cluster = ensure_running(place, durable=durable)
        try:
            yield cluster
        finally:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # another process still uses the server
            else:
                if not is_kept_running(cluster):
                    cluster.stop()


def keep_running(cluster: Cluster, *, keep: bool) -> None:
    """Set whether the server outlives the processes that use it (`manage.py db start`)."""
    mark = cluster.data_dir / "database.keep"
    if keep:
        mark.touch()
    else:
        mark.unlink(missing_ok=True)


def is_kept_running(cluster: Cluster) -> bool:
    """Return True if `keep_running` is set."""
    return (cluster.data_dir / "database.keep").exists()


def _open_cluster(data_dir: Path, *, any_major: bool = False) -> Cluster:
    account = ensure_server_account()
    home = data_dir / "postgres"
    if not is_reachable(home, account):
        raise EmbeddedError(
            f"The database's system account cannot access {data_dir}, and Atrium does not open "
            "private folders to it. Set ATRIUM_DATA_DIR to a folder outside."
        )
    if not home.exists():
        home.mkdir(mode=0o700)
        account.take_ownership(home)
    version = home / "data" / "PG_VERSION"
    major = int(version.read_text()) if version.exists() else MAJOR
    if major != MAJOR and not any_major:
        raise EmbeddedError(
            f"The database in {data_dir} was created by PostgreSQL {major}. Run "
            f"`manage.py db upgrade` to upgrade it to {MAJOR}."
        )
    return Cluster(
        data_dir=data_dir,
        programs=find_packaged_programs(data_dir, account, major=major),
        socket_dir=_ensure_socket_dir(home, account),
        passwords=_load_passwords(data_dir / "database.json"),
    )


def _load_passwords(path: Path) -> dict[str, str]:
    """Return the roles' passwords, generated by the first call."""
    if path.exists():
        stored: dict[str, str] = json.loads(path.read_text())
        return stored
    passwords = {role: secrets.token_urlsafe(24) for role in (SUPERUSER, OWNER, APP)}
    partial = path.with_name(f".{path.name}")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        json.dump(passwords, file)
    partial.rename(path)
    return passwords


def _ensure_socket_dir(home: Path, account: Account) -> Path:
    """Return a folder of mode 0700 whose path is short enough for the socket."""
    folder = home / "run"
    if len(os.fsencode(folder / _SOCKET_NAME)) > _MAX_SOCKET_PATH_LENGTH:
        mark = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
        folder = Path("/tmp") / f"atrium-{mark}"  # nosec B108 - owner and mode are checked below
    try:
        folder.mkdir(mode=0o700)
        account.take_ownership(folder)
    except FileExistsError:
        status = folder.lstat()
        owner = os.geteuid() if account.uid is None else account.uid
        private = stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o700
        if status.st_uid != owner or not private:
            raise EmbeddedError(
                f"The folder {folder} does not belong to Atrium. Remove it."
            ) from None
    return folder


def _get_locale_options(major: int) -> tuple[str, ...]:
    if major < 17:  # 17 added the provider that is independent of the OS
        return ("--locale=C.UTF-8",)
    return ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")


def _is_alive(pid: int) -> bool:
    """Return True if a process has this id; a zombie counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _is_postgres(pid: int) -> bool:
    """Return True if a live process (not a zombie) with this id is a PostgreSQL server."""
    if not _is_alive(pid):
        return False
    if not Path("/proc/self/stat").exists():  # no /proc: trust the number
        return True
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    name, _, rest = status.partition("(")[2].rpartition(")")
    return name == "postgres" and not rest.strip().startswith("Z")


def _wait_until(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@contextmanager
def _lock_folder(data_dir: Path) -> Iterator[None]:
    with (data_dir / "database.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
