"""What code can do in Monty, and what happens when the interpreter itself fails."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from chat.sandbox.base import RunEnd, SandboxLimits
from chat.sandbox.inside import landlock
from chat.sandbox.monty import MontySandbox
from tests.sandbox.opened import SHORT_SECONDS, opened, run_alone
from tests.test_architecture import ROOT

MONTY = MontySandbox()

REFUSED = [
    "import socket",
    "import subprocess",
    "import ctypes",
    "import threading",
    "import signal",
    "import pickle",
    "import pydantic_monty",
    "import os\nos.fork()",
    "import os\nos.kill(1, 9)",
    "import os\nos.system('id')",
    "import os\nos.listdir('/')",
    "import os\nos.symlink('/etc/passwd', 'a')",
    "import os\nos.mkdir('/mnt/data/x')",
    "import os\nos.rename('/etc/passwd', 'a')",
    "open('/etc/passwd')",
    "open('/proc/self/environ')",
    "open('/mnt/data/../../etc/passwd')",
    "open('../../etc/passwd')",
    f"open({str(ROOT / 'manage.py')!r})",
    "open('/mnt/data')",
    "open('a/b', 'w')",
    "open('/tmp/a', 'w')",
    "open('.hidden', 'w')",
    "open('a\\nb', 'w')",
    "from pathlib import Path\nPath('/etc/passwd').read_bytes()",
    "from pathlib import Path\nPath('/etc').iterdir()",
    "__import__('os')",
    "().__class__.__base__.__subclasses__()",
    "chart.__globals__",
    "import sys\nsys.modules",
]


@pytest.fixture(scope="module")
def ends() -> dict[str, RunEnd]:
    """How each of the codes ended, all in one session."""

    async def ask() -> dict[str, RunEnd]:
        async with opened(MONTY) as session:
            return {code: (await session.run(code)).ended for code in REFUSED}

    return asyncio.run(ask())


@pytest.mark.parametrize("code", REFUSED)
def test_it_is_refused(ends: dict[str, RunEnd], code: str) -> None:
    assert ends[code] is RunEnd.RAISED


async def test_there_is_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")
    outcome = await run_alone(MONTY, "import os\ndict(os.environ), os.getenv('DATABASE_URL')")
    assert outcome.value == "({}, None)"


async def test_its_processes_have_neither_environment_nor_descriptors() -> None:
    leaking = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leaking, True)
    try:
        async with opened(MONTY) as session:
            await session.run("1")
            process = psutil.Process(session.pid)
            assert set(process.environ()) <= {"LANG", "LC_CTYPE"}
            (worker,) = process.children()
            assert set(worker.environ()) <= {"LANG", "LC_CTYPE"}
            assert process.open_files() == worker.open_files() == []
            assert process.net_connections() == worker.net_connections() == []
    finally:
        os.close(leaking)


async def test_its_processes_cannot_open_sockets_whatever_they_run() -> None:
    async with opened(MONTY) as session:
        await session.run("1")
        (worker,) = psutil.Process(session.pid).children()
        states = [_status(pid) for pid in (session.pid, worker.pid)]
    assert all("\nNoNewPrivs:\t1\n" in state for state in states)
    assert all("\nSeccomp:\t2\n" in state for state in states)


BREAKING_OUT = """
import json, os, socket, sys
sys.path.append({root!r})
from chat.sandbox.inside.restricted import isolate_process
isolate_process(json.loads({limits!r}))
def refused(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__ == "PermissionError"
    return False
print(json.dumps([
    refused(lambda: socket.socket()),
    refused(lambda: open("/etc/passwd")),
    refused(lambda: os.listdir({root!r})),
    refused(lambda: open("/dev/shm/x", "w")),
    refused(lambda: os.kill(os.getppid(), 0)),
]))
"""


def test_what_breaks_out_of_the_interpreter_stands_before_walls() -> None:
    code = BREAKING_OUT.format(root=str(ROOT), limits=json.dumps(asdict(SandboxLimits())))
    command = [sys.executable, "-I", "-c", code]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    files = landlock.get_abi_version() >= 1
    signals = landlock.get_abi_version() >= landlock.SCOPED_SINCE
    assert found == [True, files, files, files, signals]


async def test_the_death_of_the_interpreter_loses_one_run() -> None:
    async with opened(MONTY) as session:
        await session.put_file("a.txt", b"one")
        await session.run("x = 5")
        running = asyncio.ensure_future(session.run("x = 6\nwhile True:\n    pass"))
        (worker,) = psutil.Process(session.pid).children()
        worker.kill()
        outcome = await running
        assert outcome.ended is RunEnd.CRASHED
        assert session.alive
        assert (await session.run("x, open('a.txt').read()")).value == "(5, 'one')"


async def test_what_ran_out_of_time_leaves_the_variables_before_it() -> None:
    async with opened(MONTY, run_seconds=SHORT_SECONDS) as session:
        await session.run("x = 5")
        outcome = await session.run("x = 6\nwhile True:\n    pass")
        assert outcome.error is not None and "as they were before" in outcome.error
        assert (await session.run("x")).value == "5"


async def test_waiting_takes_no_time() -> None:
    outcome = await run_alone(MONTY, "import time\ntime.sleep(3600)")
    assert outcome.ended is RunEnd.FINISHED


async def test_a_huge_result_cannot_hurt_the_server() -> None:
    async with opened(MONTY, memory=64 * 2**20) as session:
        before = psutil.Process().memory_info().rss
        outcome = await session.run("[[] for i in range(400_000)]")
        assert outcome.ended in (RunEnd.FINISHED, RunEnd.MEMORY)
        assert len(outcome.value or "") <= 16 * 1024
        assert psutil.Process().memory_info().rss - before < 2**24


async def test_files_are_renamed_and_removed() -> None:
    code = (
        "import os\nfor name in ('a', 'b'):\n    with open(name, 'w') as f:\n        f.write('x')\n"
        "os.rename('a', 'c')\nos.remove('b')\nos.listdir('.'), os.stat('c').st_size"
    )
    outcome = await run_alone(MONTY, code)
    assert outcome.value is not None and outcome.value.startswith("(['c'], 1")
    assert [file.name for file in outcome.files] == ["c"]


async def test_a_bad_chart_is_explained() -> None:
    outcome = await run_alone(MONTY, "chart('bubble', {'a': 1})")
    assert outcome.ended is RunEnd.RAISED
    assert outcome.error is not None and "kind must be one of bar, line" in outcome.error


async def test_a_run_draws_so_many_charts() -> None:
    outcome = await run_alone(MONTY, "for i in range(5):\n    chart('bar', {'a': 1})", images=3)
    assert outcome.ended is RunEnd.RAISED
    assert len(outcome.images) == 3


def _status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()
