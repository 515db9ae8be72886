"""A server process that imports the application before it is told to serve.

`manage.py up` starts it first of all and prepares the tables meanwhile: importing takes as
long as everything else together. `python -m config.local.prewarmed` reads one line from its
standard input, uvicorn's arguments and who this process is as JSON, and ends where there is none.
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
    """Start a process that waits, with the application's credentials only.

    It ends when this process does, even by SIGKILL. `python` may be another environment's.
    """
    credentials = {k: v for k, v in os.environ.items() if k != "MIGRATION_DATABASE_URL"}
    return subprocess.Popen(
        [python, "-m", "config.local.prewarmed"],
        cwd=CHECKOUT,
        env=credentials,
        stdin=subprocess.PIPE,
        text=True,
        process_group=0,  # Ctrl-C reaches the parent, which decides about this one
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )


@contextmanager
def early() -> Iterator[None]:
    """Have a process import while the caller does other things; `take` hands it over."""
    begin_early()
    try:
        yield
    finally:
        discard()


def begin_early() -> None:
    """Have a process import that `take` hands over."""
    if not _early:
        _early.append(spawn())


def take() -> subprocess.Popen[str]:
    """Return the process that imported early, or a new one."""
    return _early.pop() if _early else spawn()


def discard() -> None:
    """End the early process: what it imported is out of date, or nobody took it."""
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
    """Tell a waiting process to run uvicorn with these arguments, and who it is."""
    assert process.stdin is not None
    told = {"arguments": arguments, "identity": identity}
    try:
        process.stdin.write(f"{json.dumps(told)}\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # it died meanwhile, which its parent learns by waiting for it


def main() -> None:
    """Import, wait for the word, serve."""
    signal.signal(signal.SIGTERM, _leave)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    uvicorn = import_module("uvicorn")
    try:
        # Its static files are collected before it serves, but a missing folder is a warning.
        Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
        import_module("config.asgi")
        import_module("django.urls").get_resolver().url_patterns  # noqa: B018 - loads them
    except ImproperlyConfigured:
        sys.exit(1)  # the parent read the same settings and says so
    line = sys.stdin.readline()
    if line:
        told = json.loads(line)
        if told["identity"] is not None:
            set_identity(told["identity"])
        uvicorn.main(args=told["arguments"], prog_name="uvicorn")


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)


if __name__ == "__main__":
    main()
