"""A watch over what a test process started: when it ends, however it ends, nothing is left.

A small process of its own, out of reach of Ctrl-C and of a killed process group, reads from a
pipe what was started and what has ended. The pipe closes with the test process: then it kills
what is left, and stops the databases of which the tests were the last user. A pytest plugin
(`-p tests.reaper`); `python -m tests.reaper` is the process.
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
# Children of a process that was killed a moment ago may still start others.
LOOKS, PAUSE_SECONDS = 5, 0.2
_reaper: list[subprocess.Popen[str]] = []


def pytest_configure(config: pytest.Config) -> None:
    """Watch a run of pytest that loads this as a plugin."""
    begin_watch()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave no process behind."""
    end_watch()


def begin_watch() -> None:
    """Begin to watch every process that this one starts."""
    if not _reaper:
        _reaper.append(_start())
        _watch_children()


def end_watch() -> None:
    """End the watch, and wait until what is left is gone."""
    while _reaper:
        process = _reaper.pop()
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


def watch_cluster(data_dir: Path) -> None:
    """Have the database below this folder stopped once the tests have ended without doing so."""
    _tell(cluster=str(data_dir))


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
    """Report each child, also those of libraries."""
    create = subprocess.Popen.__init__

    def reported(child: Any, *args: Any, **kwargs: Any) -> None:
        create(child, *args, **kwargs)
        _tell(pid=child.pid, started=start_of(child.pid))

    subprocess.Popen.__init__ = reported  # type: ignore[assignment, method-assign]


def _tell(**what: object) -> None:
    for process in _reaper:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{json.dumps(what)}\n")
            process.stdin.flush()


def start_of(pid: int) -> str | None:
    """Return when a process began, in ticks since the machine did: with its number it is unique.

    None where there is none, a zombie counting as none.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if status[0] == "Z" else status[19]


def reap(told: TextIO) -> None:
    """Read until the test process has ended, then end what it left."""
    children: dict[int, str] = {}
    clusters: list[str] = []
    for line in told:
        what = json.loads(line)
        if what.get("started"):
            children[what["pid"]] = what["started"]
        clusters += [what["cluster"]] if "cluster" in what else []
    for _look in range(LOOKS):
        left = [pid for pid, started in children.items() if start_of(pid) == started]
        if not left:
            break
        for pid in left:
            for item in (*descendants_of(pid), pid):
                _kill(item)
        time.sleep(PAUSE_SECONDS)
    for cluster in clusters:
        stop_unused(Path(cluster))


def descendants_of(pid: int) -> list[int]:
    """Return the processes below this one, but for those that watch over others."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            if not is_reaper(child):
                found += [child, *descendants_of(child)]
    return found


def is_reaper(pid: int) -> bool:
    """Return True for another watch, which has databases to stop."""
    try:
        return "tests.reaper" in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return False


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def stop_unused(data_dir: Path) -> None:
    """Stop the database below a folder unless another process still uses it."""
    from config.local import embedded  # it needs nothing of Django, but takes a moment to import

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
