"""Interrupted or killed tests leave no process behind: neither servers nor their database."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clock import wait_until
from tests.reaper import get_start_time, is_reaper
from tests.server import START_SECONDS

ROOT = Path(__file__).resolve().parent.parent
# Processes: one that ignores Ctrl-C like a server, a frozen one, one with a child, a database.
SAMPLE = """
import os, signal, subprocess, sys, time
from pathlib import Path

import pytest
from config.local import embedded
from tests.reaper import watch_cluster

FOLDER = Path(os.environ["SAMPLE_FOLDER"])
STUBBORN = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STUBBORN!r}])"


def test_with_processes():
    data_dir = FOLDER / "data"
    watch_cluster(data_dir)
    with embedded.running(data_dir, durable=False) as cluster:
        children = [subprocess.Popen([sys.executable, "-c", code]) for code in (STUBBORN, PARENT)]
        frozen = subprocess.Popen([sys.executable, "-c", STUBBORN])
        frozen.send_signal(signal.SIGSTOP)
        below = Path(f"/proc/{children[1].pid}/task/{children[1].pid}/children")
        while not below.read_text():
            time.sleep(0.05)
        found = [*(child.pid for child in children), frozen.pid, int(below.read_text())]
        text = " ".join(map(str, [*found, cluster.get_postmaster_pid()]))
        (FOLDER / "partial").write_text(text)
        (FOLDER / "partial").rename(FOLDER / "pids")
        time.sleep(600)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Folder that the database's account can enter."""
    made = Path(tempfile.mkdtemp(prefix="atrium-test-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


def run_sample(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start pytest on the sample in a separate process group, like a terminal."""
    (folder / "test_sample.py").write_text(SAMPLE)
    command = [
        *(sys.executable, "-m", "pytest", "-p", "tests.reaper", "-p", "no:cacheprovider"),
        *("-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), "-q", *options),
        str(folder / "test_sample.py"),
    ]
    environment = {**os.environ, "SAMPLE_FOLDER": str(folder), "PYTHONPATH": str(ROOT)}
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST", "PYTEST_ADDOPTS"):
        environment.pop(name, None)
    log = (folder / "log").open("wb")
    with log:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=log, process_group=0
        )


def interrupt(run: subprocess.Popen[bytes], pids: list[int]) -> None:
    """Signal every process of the group, like Ctrl-C."""
    os.killpg(run.pid, signal.SIGINT)


def kill_workers(run: subprocess.Popen[bytes], pids: list[int]) -> None:
    """Kill the processes that execute tests, then their parent, but no process the tests started.

    Killing one of those would orphan its children, which the watchdog could then not find.
    """
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    workers = [pid for pid in map(int, children) if pid not in pids and not is_reaper(pid)]
    for pid in (*workers, run.pid):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("options", [("-n", "0"), ("-n", "2")], ids=["alone", "xdist"])
@pytest.mark.parametrize("end", [interrupt, kill_workers])
def test_nothing_is_left(folder: Path, options: tuple[str, ...], end: Callable[..., None]) -> None:
    run = run_sample(folder, *options)
    try:
        begun = folder / "pids"
        wait_until(lambda: begun.exists() or run.poll() is not None, seconds=START_SECONDS)
        assert run.poll() is None, (folder / "log").read_text()
        pids = [int(pid) for pid in begun.read_text().split()]
        assert all(get_start_time(pid) is not None for pid in pids)
        end(run, pids)
        run.wait(60)
        wait_until(lambda: all(get_start_time(pid) is None for pid in pids))
        assert "Traceback" not in (folder / "log").read_text()
    finally:
        if run.poll() is None:
            run.kill()
            run.wait()
