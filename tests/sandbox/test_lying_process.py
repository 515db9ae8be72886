"""A session's process that was taken over and says whatever it likes."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from chat.sandbox.base import RunEnd, SandboxLimits, SandboxUnavailable, SessionEnded
from chat.sandbox.process import start_session
from tests.sandbox.opened import PATIENT

LIMITS = replace(PATIENT, file=100, all_files=150, files=2, logs=50, images=1, image=100)
BEGIN = """
import json, os, struct
def raw(head, body=b""):
    os.write(1, struct.pack(">II", len(head), len(body)) + head + body)
def send(kind, body=b"", **head):
    raw(json.dumps({"is": kind, "number": 1, **head}).encode(), body)
def draw(series, title=""):
    send("chart", kind="bar", title=title, labels=["a"], series=series)
send("ready", number=0)
os.read(0, 10000)
"""
DONE = 'send("done", ended="finished", limits=[])\nos.read(0, 10000)'

LIES = {
    "half a frame": "os.write(1, b'abc')",
    "no JSON": "raw(b'{')",
    "deep JSON": "raw(b'[' * 100_000)",
    "no object": "raw(b'[]')",
    "a list as its kind": 'send(["log"])',
    "an endless head": "os.write(1, struct.pack('>II', 2**31, 0) + b' ' * 100)",
    "an endless body": "os.write(1, struct.pack('>II', 2, 2**31) + b'{}' + b' ' * 100)",
    "an answer to another request": 'send("done", ended="finished", number=2)',
    "a kind of its own": 'send("command")',
    "an end of its own": 'send("done", ended="excellent")',
    "an end that is the server's": 'send("done", ended="cancelled")',
    "a limit of its own": 'send("done", ended="finished", limits=["none"])',
    "more logs than allowed": 'send("log", b"x" * 30)\nsend("log", b"x" * 30)',
    "more files than allowed": 'for n in "abc": send("file", b"", name=n)',
    "more bytes than allowed": 'for n in "ab": send("file", b"x" * 90, name=n)',
    "a file that is too large": 'send("file", b"x" * 101, name="a")',
    "a picture that is none": 'send("image", b"<svg onload=alert(1)>")',
    "more pictures than allowed": 'for n in "ab": send("image", b"\\x89PNG\\r\\n\\x1a\\n")',
    "a chart's title that is no text": 'draw([["a", [1]]], title=["<"])',
    "a chart without numbers": 'draw([["a", ["1"]]])',
    "a chart of infinities": 'draw([["a", [1e999]]])',
    "a chart with too few numbers": 'draw([["a", []]])',
    "a chart of nothing": 'send("chart", kind="bar")',
    "logs of nothing without end": 'while True: send("log")',
    "one file over and over": 'while True: send("file", b"x", name="a")',
    "skipped files without end": 'for n in range(9): send("skipped", name="a", why="b")',
}


def program(lines: str) -> list[str]:
    """A process that is ready, takes a request, and goes on like this."""
    return [sys.executable, "-I", "-S", "-c", f"{BEGIN}\n{lines}\n"]


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_ends_the_session(lie: str) -> None:
    session = await start_session(program(f"{LIES[lie]}\n{DONE}"), LIMITS)
    outcome = await session.run("1")
    assert outcome.ended is RunEnd.CRASHED
    assert not session.alive


async def test_bad_names_and_texts_are_made_harmless() -> None:
    lines = (
        'send("file", b"x", name="../../etc/passwd")\nsend("file", b"y", name="ok")\n'
        'send("file", b"x", name=5)\nsend("skipped", name="a\\nb", why="\\ud800")\n'
        'send("log", b"\\xff\\x00")\n'
        'send("done", ended="raised", value=[1], error="\\ud800\\0", limits=None)\nos.read(0, 9)'
    )
    session = await start_session(program(lines), LIMITS)
    outcome = await session.run("1")
    await session.close()
    assert [file.name for file in outcome.files] == ["ok"]
    assert [item.name for item in outcome.skipped] == ["../../etc/passwd", "", "a?b"]
    assert (outcome.logs, outcome.value, outcome.error) == ("\ufffd\ufffd", None, "\ufffd\ufffd")


async def test_another_answer_than_asked_for_ends_the_session() -> None:
    session = await start_session(program(DONE), LIMITS)
    with pytest.raises(SessionEnded):
        await session.save()
    assert not session.alive


async def test_a_process_that_says_nothing_is_given_up() -> None:
    silent = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]
    with pytest.raises(SandboxUnavailable):
        await start_session(silent, SandboxLimits(start_seconds=0.2))


async def test_a_process_that_reads_nothing_is_killed() -> None:
    deaf = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"{BEGIN.split('os.read')[0]}\nimport time; time.sleep(60)",
    ]
    session = await start_session(
        deaf, SandboxLimits(start_seconds=60, run_seconds=0.2, grace_seconds=0.1)
    )
    outcome = await session.run("x" * 200_000)
    assert outcome.ended is RunEnd.TIME


async def test_a_program_that_is_missing_is_told() -> None:
    with pytest.raises(SandboxUnavailable, match="did not start"):
        await start_session(["/nowhere/bwrap"], SandboxLimits())
