"""Watchdog that ends all processes of a test run when it ends, even if it was killed.

A small separate process, which neither Ctrl-C nor killing the process group reaches, reads from a
pipe which processes were started. The pipe closes when the test process ends. The watchdog then
kills the remaining processes and stops the databases that no other process uses. The module is
also a pytest plugin (`-p tests.reaper`); `python -m tests.reaper` runs the watchdog.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
# Children of a process that has just been killed may still start others.
LOOKS, PAUSE_SECONDS = 5, 0.2
_reaper: list[subprocess.Popen[str]] = []


def pytest_configure(config: pytest.Config) -> None:
    """Start the watchdog for a test run that loads this module as a plugin."""
    begin_watch()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End all remaining processes."""
    end_watch()


def begin_watch() -> None:
    """Start the watchdog for all processes that this one starts."""
    if not _reaper:
        _reaper.append(_start())
        _watch_children()


def end_watch() -> None:
    """Close the pipe, and wait until the watchdog has ended the remaining processes."""
    while _reaper:
        process = _reaper.pop()
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


def watch_cluster(data_dir: Path) -> None:
    """Register a database folder: the watchdog stops its server if the tests left it running."""
    _report(cluster=str(data_dir))


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.reaper"],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )


def _watch_children() -> None:
    """Report each child process, including those started by libraries."""
    create = subprocess.Popen.__init__

    def reported(child: Any, *args: Any, **kwargs: Any) -> None:
        create(child, *args, **kwargs)
        _report(pid=child.pid, started=get_start_time(child.pid))

    subprocess.Popen.__init__ = reported  # type: ignore[assignment, method-assign]


def _report(**what: object) -> None:
    for process in _reaper:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{json.dumps(what)}\n")
            process.stdin.flush()


def get_start_time(pid: int) -> str | None:
    """Return the start time of a process in ticks since boot, or None if it is gone or a zombie.

    Together with the process id it identifies a process uniquely.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if status[0] == "Z" else status[19]


def reap(told: TextIO) -> None:
    """Read until the test process has ended, then end the processes it left running."""
    children: dict[int, str] = {}
    clusters: list[str] = []
    for line in told:
        what = json.loads(line)
        if what.get("started"):
            children[what["pid"]] = what["started"]
        clusters += [what["cluster"]] if "cluster" in what else []
    for _look in range(LOOKS):
        left = [pid for pid, started in children.items() if get_start_time(pid) == started]
        if not left:
            break
        for pid in left:
            for item in (*list_descendants(pid), pid):
                _kill(item)
        time.sleep(PAUSE_SECONDS)
    for cluster in clusters:
        stop_unused(Path(cluster))


def list_descendants(pid: int) -> list[int]:
    """Return the descendants of a process, except other watchdogs."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            if not is_reaper(child):
                found += [child, *list_descendants(child)]
    return found


def is_reaper(pid: int) -> bool:
    """Return True if the process is another watchdog, which has databases to stop."""
    try:
        return "tests.reaper" in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return False


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def stop_unused(data_dir: Path) -> None:
    """Stop the database in a folder unless another process still uses it."""
    from config.local import embedded  # imported late, as it is slow to import

    if not data_dir.exists() or (cluster := embedded.locate(data_dir)) is None:
        return
    with (data_dir / "database.users").open("a") as users:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if not embedded.is_kept_running(cluster):
            cluster.stop()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    reap(sys.stdin)
