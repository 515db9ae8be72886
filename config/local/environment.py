"""Zero-configuration environment of a checkout: data folder, secrets, database.

`manage.py` enters `environment` before Django reads its settings. Variables that are already set
always take precedence.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from config.local import embedded, prewarmed
from config.local.postgres_programs import EmbeddedError, default_data_dir, make_data_dir
from config.local.prewarmed import CHECKOUT

_WITHOUT_DATABASE = frozenset(
    {"", "collectstatic", "db", "diffsettings", "findstatic", "help", "version"}
)

_WITHOUT_OWNER = frozenset({"procrastinate", "runserver"})  # they serve


@contextmanager
def environment(arguments: Sequence[str]) -> Iterator[None]:
    """Set the missing environment variables of a management command, and run its database.

    `arguments` are those after `manage.py`. Raises EmbeddedError with a one-line message.
    """
    command = next((word for word in arguments if not word.startswith("-")), "")
    if {"--help", "-h", "--version"} & set(arguments):
        command = ""
    data_dir = Path(os.environ.get("ATRIUM_DATA_DIR") or default_data_dir(CHECKOUT))
    data_dir = data_dir.expanduser().resolve()
    os.environ["ATRIUM_DATA_DIR"] = str(data_dir)
    own_server = not os.environ.get("DATABASE_URL")
    with ExitStack() as stack:
        if command == "up":
            stack.enter_context(serving(data_dir))
        _fill_in_secrets(data_dir, make=command == "up" or (own_server and bool(command)))
        if own_server and command not in _WITHOUT_DATABASE:
            cluster = stack.enter_context(embedded.running(data_dir))
            os.environ["DATABASE_URL"] = cluster.app_url()
            if command not in _WITHOUT_OWNER:
                os.environ["MIGRATION_DATABASE_URL"] = cluster.owner_url()
        if command == "up":
            if sys.stdout.isatty():  # interactive: no line per request
                os.environ.setdefault("LOG_LEVEL", "WARNING")
            if Path(os.environ.get("ATRIUM_STATIC_DIR") or data_dir / "static").is_dir():
                stack.enter_context(prewarmed.early())  # the first start has to create files before
        yield


@contextmanager
def serving(data_dir: Path) -> Iterator[IO[str]]:
    """Hold the lock that serving from the data folder, or replacing its database, requires.

    Yields the lock file, to which `up` writes its address. Raises EmbeddedError if it is taken.
    """
    make_data_dir(data_dir)
    with (data_dir / "up.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            where = f" on {address}" if (address := file.read().strip()) else ""
            raise EmbeddedError(
                f"Atrium is already running from {data_dir}{where}. Stop it first, or set "
                "ATRIUM_DATA_DIR to another folder."
            ) from None
        file.truncate(0)
        yield file
        file.truncate(0)


def read_served_address(data_dir: Path) -> str:
    """Return the address at which `up` serves from the data folder, or "" if it does not.

    The address of a server on all interfaces is returned with the loopback address.
    """
    try:
        address = (data_dir / "up.lock").read_text().strip()
    except OSError:
        return ""
    return address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def announce(data_dir: Path, address: str) -> None:
    """Write the address to the lock file, for processes that find it locked.

    Call it only inside `serving`.
    """
    (data_dir / "up.lock").write_text(address)


def _fill_in_secrets(data_dir: Path, *, make: bool) -> None:
    names = ("SECRET_KEY", "FIELD_ENCRYPTION_KEYS")
    if all(os.environ.get(name) for name in names):
        return
    path = data_dir / "secrets.json"
    if make and not path.exists():
        make_data_dir(data_dir)
        _write_once(path, {name: secrets.token_urlsafe(48) for name in names})
    if path.exists():
        kept: dict[str, str] = json.loads(path.read_text())
        for name in names:
            os.environ[name] = os.environ.get(name) or kept[name]


def _write_once(path: Path, values: dict[str, str]) -> None:
    """Write a file of mode 0600 atomically; the first of several writers wins."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        json.dump(values, file)
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        partial.unlink()
