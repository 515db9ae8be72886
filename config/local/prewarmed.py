"""A server process that imports the application before it receives its arguments.

`manage.py up` starts it first and prepares the tables meanwhile: importing takes as long as
everything else together. `python -m config.local.prewarmed` reads one JSON line from standard
input, with uvicorn's arguments and the process identity, and exits if there is none.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from tenants.process_identity import set_identity

CHECKOUT = Path(__file__).resolve().parents[2]
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_early: list[subprocess.Popen[str]] = []


def spawn(python: str = sys.executable) -> subprocess.Popen[str]:
    """Start a waiting process, with the application's credentials only.

    It exits when this process does, even by SIGKILL. `python` may belong to another environment.
    """
    credentials = {k: v for k, v in os.environ.items() if k != "MIGRATION_DATABASE_URL"}
    return subprocess.Popen(
        [python, "-m", "config.local.prewarmed"],
        cwd=CHECKOUT,
        env=credentials,
        stdin=subprocess.PIPE,
        text=True,
        process_group=0,  # Ctrl-C reaches only the parent, which decides about this one
        preexec_fn=_exit_with_parent if sys.platform == "linux" else None,
    )


@contextmanager
def early() -> Iterator[None]:
    """Prepare a process while the caller does other work; `take` returns it."""
    begin_early()
    try:
        yield
    finally:
        discard()


def begin_early() -> None:
    """Start a process to be returned by `take`."""
    if not _early:
        _early.append(spawn())


def take() -> subprocess.Popen[str]:
    """Return the prewarmed process, or a new one."""
    return _early.pop() if _early else spawn()


def discard() -> None:
    """End the prewarmed process, which is unused or has imported outdated code."""
    while _early:
        process = _early.pop()
        process.kill()
        process.communicate()


def serve(
    process: subprocess.Popen[str],
    arguments: list[str],
    *,
    identity: dict[str, Any] | None = None,
) -> None:
    """Make a waiting process run uvicorn with these arguments and this identity."""
    assert process.stdin is not None
    message = {"arguments": arguments, "identity": identity}
    try:
        process.stdin.write(f"{json.dumps(message)}\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # it died meanwhile; its parent notices when it waits for it


def main() -> None:
    """Import the application, wait for the arguments, serve."""
    signal.signal(signal.SIGTERM, _exit)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    uvicorn = import_module("uvicorn")
    try:
        # Static files are collected before it serves, but a missing folder causes a warning.
        Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
        import_module("config.asgi")
        import_module("django.urls").get_resolver().url_patterns  # noqa: B018 - loads them
    except ImproperlyConfigured:
        sys.exit(1)  # the parent read the same settings and reports the error
    line = sys.stdin.readline()
    if line:
        message = json.loads(line)
        if message["identity"] is not None:
            set_identity(message["identity"])
        uvicorn.main(args=message["arguments"], prog_name="uvicorn")


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def _exit_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)


if __name__ == "__main__":
    main()
