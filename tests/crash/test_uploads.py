"""Uploads whose process is killed, at every step they have: nothing is left, or all of it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chat.tasks import end_uploads, erase_files
from tests.api.conftest import Api, program_of
from tests.clock import WAIT_SECONDS, wait_until
from tests.crash.dying import DATA
from tests.database import CHECKOUT, TestDatabase
from tests.server import build_environment, serve
from tests.world import World

AGE = (
    "UPDATE chat_file SET created_at = now() - interval '1 day' WHERE stored_at IS NULL",
    "UPDATE chat_upload SET expires_at = now() - interval '1 second'",
)
KEPT = "SELECT storage_key, bytes FROM chat_file WHERE stored_at IS NOT NULL"
LEFT = """
SELECT (SELECT count(*) FROM chat_file WHERE stored_at IS NULL OR deleted_at IS NOT NULL)
    + (SELECT count(*) FROM chat_uploadpart)
"""
MAX_STEPS = 500


@pytest.fixture
def folder(world: World, settings: Any, tmp_path: Path) -> Path:
    """The data folder of the processes that die; this one removes what they leave."""
    settings.MEDIA_ROOT = tmp_path / "files"
    return tmp_path


Dying = Callable[[str, str, int], str]


@pytest.fixture
def dying(database: TestDatabase, folder: Path) -> Iterator[Dying]:
    """Upload in a process that is killed at a step; tells "killed" or "whole"."""
    env = {**build_environment(database, folder), "LOG_LEVEL": "ERROR"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.dying"],
        cwd=CHECKOUT,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    told, said = process.stdin, process.stdout

    def die(what: str, key: str, step: int) -> str:
        told.write(json.dumps({"what": what, "key": key, "step": step}) + "\n")
        told.flush()
        return said.readline().strip()

    yield die
    told.close()
    said.close()
    assert process.wait(WAIT_SECONDS) == 0


def tidied(database: TestDatabase) -> None:
    """Let time pass, and the tasks do their work."""
    for statement in AGE:
        database.owner.execute(statement)
    asyncio.run(end_uploads(0))
    asyncio.run(erase_files(0))


def stored_bytes(folder: Path) -> dict[str, int]:
    root = folder / "files"
    found = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): path.stat().st_size for path in found}


# All steps take a minute; some of them tell of most mistakes.
LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"


@pytest.mark.parametrize(("what", "every", "least"), [("file", 2, 10), ("upload", 8, 40)])
def test_a_killed_upload_leaves_a_whole_file_or_nothing(
    world: World,
    database: TestDatabase,
    folder: Path,
    dying: Dying,
    what: str,
    every: int,
    least: int,
) -> None:
    alice: Api = program_of(world.acme, "alice")
    steps = itertools.takewhile(
        lambda step: dying(what, alice.secret, step) == "killed",
        range(1, MAX_STEPS, 1 if LONG else every),
    )
    assert least < max(steps) < MAX_STEPS - every
    tidied(database)
    kept = dict(database.owner.execute(KEPT).fetchall())
    assert set(kept.values()) == {len(DATA)}
    assert stored_bytes(folder) == kept
    assert database.owner.execute(LEFT).fetchone() == (0,)
    used = database.owner.execute("SELECT sum(bytes) FROM chat_storageuse").fetchone()
    assert used == (len(kept) * len(DATA),)


def test_a_body_that_is_cut_off_by_a_kill_leaves_nothing_on_the_disk(
    world: World, database: TestDatabase, folder: Path
) -> None:
    temporary = folder / "temporary"
    temporary.mkdir()
    key = program_of(world.acme, "alice").secret
    size = 4_000_000
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {size}\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    )
    environment = {"TMPDIR": str(temporary)}
    with serve(database, folder, environment=environment, pages=False) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(head.encode() + b"x" * (size // 2))
            pid = server.process.pid
            wait_until(lambda: _holds(pid, temporary))
            server.process.kill()
            server.process.wait()
    assert list(temporary.iterdir()) == []
    assert stored_bytes(folder) == {}


def _holds(pid: int, folder: Path) -> bool:
    """Tell whether a process has a file open in a folder, whether or not it has a name."""
    targets = []
    for item in Path(f"/proc/{pid}/fd").iterdir():
        try:
            targets.append(os.readlink(item))  # noqa: PTH115
        except FileNotFoundError:
            continue
    return any(target.startswith(str(folder)) for target in targets)
