"""What every sandbox keeps to."""

from __future__ import annotations

import asyncio
import sys

import psutil  # type: ignore[import-untyped]
import pytest
import uvloop

from chat.sandbox.base import BadFile, LimitHit, RunEnd, SandboxUnavailable, SessionEnded
from chat.sandbox.bubblewrap import BubblewrapSandbox
from tests.sandbox.opened import SHORT_SECONDS, Backend, all_end, opened, run_alone
from tests.test_architecture import ROOT

FOREVER = "while True:\n    pass"
HOSTILE_NAMES = [
    *("", ".", "..", "/etc/passwd", "../a", "a/b", "a\\b", ".hidden", "a\0b", "a\nb"),
    *("a\ud800", "x" * 201, "exe\u202etxt.py", "e\u0301"),
]


class TestRuns:
    async def test_the_last_expression_is_the_value(self, backend: Backend) -> None:
        outcome = await run_alone(backend, "x = 20\nx + 1.5")
        assert (outcome.ended, outcome.value, outcome.error) == (RunEnd.FINISHED, "21.5", None)

    async def test_a_statement_has_no_value(self, backend: Backend) -> None:
        assert (await run_alone(backend, "x = 20")).value is None

    async def test_what_is_printed_is_the_log(self, backend: Backend) -> None:
        assert (await run_alone(backend, "print('é', 1)\nprint('b', end='')")).logs == "é 1\nb"

    async def test_variables_and_functions_stay(self, backend: Backend) -> None:
        async with opened(backend) as session:
            await session.run("import math\nx = 20\ndef add(n):\n    return x + n")
            await session.run("x = 30")
            assert (await session.run("add(math.floor(2.5))")).value == "32"

    async def test_an_exception_is_told_with_its_line(self, backend: Backend) -> None:
        outcome = await run_alone(backend, "print('a')\nx = 1\nx / 0")
        assert outcome.ended is RunEnd.RAISED
        assert outcome.logs == "a\n"
        assert outcome.error is not None
        assert "line 3" in outcome.error and "ZeroDivisionError" in outcome.error

    async def test_variables_outlive_an_exception(self, backend: Backend) -> None:
        async with opened(backend) as session:
            await session.run("x = 5\n1 / 0")
            assert (await session.run("x")).value == "5"

    async def test_no_code_ends_the_session(self, backend: Backend) -> None:
        async with opened(backend) as session:
            for code in ["def", "x = (", "\0", "raise SystemExit", "raise 5", "(" * 10_000]:
                assert (await session.run(code)).ended is RunEnd.RAISED
            assert (await session.run("1 + 1")).value == "2"

    async def test_code_that_is_too_long_is_not_run(self, backend: Backend) -> None:
        outcome = await run_alone(backend, "x = 1 " + " " * 300, code=200)
        assert (outcome.ended, outcome.error) == (RunEnd.RAISED, "The code is too long.")

    async def test_sessions_do_not_see_each_other(self, backend: Backend) -> None:
        async with opened(backend) as one, opened(backend) as other:
            await one.put_file("a.txt", b"secret")
            await one.run("x = 5")
            outcome = await other.run("import os\nprint(os.listdir('.'))\nx")
            assert outcome.logs == "[]\n"
            assert outcome.error is not None and "NameError" in outcome.error


class TestFiles:
    async def test_a_file_put_is_read(self, backend: Backend) -> None:
        async with opened(backend) as session:
            await session.put_file("Umsätze 1.csv", "a,b\n1,ü\n".encode())
            outcome = await session.run("open('/mnt/data/Umsätze 1.csv').read()")
        assert outcome.value == "'a,b\\n1,ü\\n'"
        assert outcome.files == ()

    async def test_a_file_written_comes_back(self, backend: Backend) -> None:
        outcome = await run_alone(backend, "with open('a.csv', 'w') as f:\n    f.write('x,y')")
        assert [(file.name, file.data, file.type) for file in outcome.files] == [
            ("a.csv", b"x,y", "text/csv")
        ]

    async def test_a_file_comes_back_when_it_changed(self, backend: Backend) -> None:
        async with opened(backend) as session:
            await session.put_file("a.txt", b"one")
            await session.put_file("b.txt", b"one")
            changed = await session.run("with open('a.txt', 'a') as f:\n    f.write(' two')")
            after = await session.run("open('a.txt').read()")
        assert [(file.name, file.data) for file in changed.files] == [("a.txt", b"one two")]
        assert after.files == ()

    async def test_a_file_put_replaces_the_one_before(self, backend: Backend) -> None:
        async with opened(backend) as session:
            await session.put_file("a.txt", b"one")
            await session.put_file("a.txt", b"two")
            assert (await session.run("open('a.txt').read()")).value == "'two'"

    async def test_bytes_come_back_as_they_are(self, backend: Backend) -> None:
        code = "with open('a.bin', 'wb') as f:\n    f.write(b'\\x00\\xff\\x80')"
        assert (await run_alone(backend, code)).files[0].data == b"\x00\xff\x80"

    async def test_hostile_names_are_not_put(self, backend: Backend) -> None:
        async with opened(backend) as session:
            for name in HOSTILE_NAMES:
                with pytest.raises(BadFile):
                    await session.put_file(name, b"")
            assert (await session.run("import os\nos.listdir('.')")).value == "[]"

    async def test_a_file_that_is_too_large_is_not_put(self, backend: Backend) -> None:
        async with opened(backend, file=1000) as session:
            with pytest.raises(BadFile):
                await session.put_file("a", b"x" * 1001)

    async def test_files_have_a_number(self, backend: Backend) -> None:
        async with opened(backend, files=2) as session:
            for name in "ab":
                await session.put_file(name, b"")
            await session.put_file("a", b"again")
            with pytest.raises(BadFile):
                await session.put_file("c", b"")

    async def test_files_have_a_size_together(self, backend: Backend) -> None:
        async with opened(backend, all_files=1000) as session:
            await session.put_file("a", b"x" * 600)
            with pytest.raises(BadFile):
                await session.put_file("b", b"x" * 600)


class TestLimits:
    async def test_a_loop_is_stopped(self, backend: Backend) -> None:
        async with opened(backend, run_seconds=SHORT_SECONDS) as session:
            outcome = await session.run(f"print('a')\n{FOREVER}")
            assert (outcome.ended, outcome.logs) == (RunEnd.TIME, "a\n")
            assert outcome.limits == {LimitHit.TIME}
            assert (await session.run("1 + 1")).value == "2"

    async def test_memory_is_bounded(self, backend: Backend) -> None:
        code = "held = []\nwhile True:\n    held.append(str(len(held)) * 10_000)"
        async with opened(backend) as session:
            outcome = await session.run(code)
            assert outcome.ended is RunEnd.MEMORY
            assert outcome.limits == {LimitHit.MEMORY}

    async def test_one_huge_value_is_refused(self, backend: Backend) -> None:
        async with opened(backend) as session:
            assert (await session.run("x = 'a' * 10**10")).ended is RunEnd.MEMORY
            assert (await session.run("1 + 1")).value == "2"

    async def test_endless_output_is_cut(self, backend: Backend) -> None:
        code = "while True:\n    print('x' * 1000)"
        outcome = await run_alone(backend, code, run_seconds=SHORT_SECONDS, logs=5000)
        assert outcome.ended is RunEnd.TIME
        assert outcome.limits == {LimitHit.TIME, LimitHit.LOGS}
        assert len(outcome.logs) == 5000

    async def test_a_long_value_is_cut(self, backend: Backend) -> None:
        outcome = await run_alone(backend, "'x' * 100_000", value=100)
        assert outcome.value == "'" + "x" * 99

    async def test_a_huge_file_is_refused(self, backend: Backend) -> None:
        code = "with open('a', 'w') as f:\n    for i in range(100):\n        f.write('x' * 1000)"
        async with opened(backend, file=20_000) as session:
            outcome = await session.run(code)
            assert outcome.ended is RunEnd.RAISED
            assert all(len(file.data) <= 20_000 for file in outcome.files)
            assert (await session.run("1 + 1")).value == "2"

    async def test_thousands_of_files_are_refused(self, backend: Backend) -> None:
        code = "for i in range(5000):\n    with open(f'{i}', 'w') as f:\n        f.write('x')"
        async with opened(backend, files=20) as session:
            outcome = await session.run(code)
            assert outcome.ended is RunEnd.RAISED
            assert len(outcome.files) <= 20
            assert (await session.run("1 + 1")).value == "2"

    async def test_texts_can_be_stored(self, backend: Backend) -> None:
        outcome = await run_alone(backend, "print('a\\0b')\nprint(chr(0xD7FF))\n'c\\0'")
        assert "\0" not in outcome.logs + (outcome.value or "")


class TestEnds:
    async def test_killing_from_outside_ends_a_run(self, backend: Backend) -> None:
        async with opened(backend) as session:
            running = asyncio.ensure_future(session.run(FOREVER))
            await asyncio.sleep(0)
            session.kill()
            outcome = await running
            assert outcome.ended is RunEnd.CANCELLED
            assert not session.alive

    async def test_a_cancelled_task_leaves_no_process(self, backend: Backend) -> None:
        async with opened(backend) as session:
            family = psutil.Process(session.pid).children(recursive=True)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(session.run(FOREVER), 0.3)
            assert not session.alive
            assert await all_end(family)

    async def test_closing_leaves_no_process(self, backend: Backend) -> None:
        async with opened(backend) as session:
            process = psutil.Process(session.pid)
            family = [process, *process.children(recursive=True)]
            await session.close()
            await session.close()
        assert await all_end(family)

    async def test_the_death_of_all_processes_is_an_outcome(self, backend: Backend) -> None:
        async with opened(backend) as session:
            running = asyncio.ensure_future(session.run(FOREVER))
            psutil.Process(session.pid).kill()
            outcome = await running
            assert outcome.ended is RunEnd.CRASHED
            assert not session.alive

    async def test_a_session_that_ended_says_so(self, backend: Backend) -> None:
        async with opened(backend) as session:
            session.kill()
            outcome = await session.run("1")
            assert outcome.ended is RunEnd.CRASHED
            assert outcome.error is not None and "has ended" in outcome.error
            with pytest.raises(SessionEnded):
                await session.put_file("a", b"")
            with pytest.raises(SessionEnded):
                await session.save()

    async def test_runs_at_once_wait_for_each_other(self, backend: Backend) -> None:
        async with opened(backend) as session:
            await session.run("x = 0")
            await asyncio.gather(*(session.run("x = x + 1") for _ in range(5)))
            assert (await session.run("x")).value == "5"

    async def test_a_start_that_takes_too_long_is_given_up(self, backend: Backend) -> None:
        before = set(psutil.Process().children())
        with pytest.raises(SandboxUnavailable):
            async with opened(backend, start_seconds=0.001):
                pass
        assert set(psutil.Process().children()) <= before


class TestSaved:
    async def test_another_session_goes_on(self, backend: Backend) -> None:
        async with opened(backend) as session:
            await session.put_file("a.txt", b"one")
            await session.run("import math\nrows = [{'n': 2}]\ndef twice(n):\n    return n * scale")
            await session.run("scale = math.floor(2.9)\nsame = rows")
            saved = await session.save()
        assert saved is not None and saved.lost == ()
        async with opened(backend, goes_on=saved.data) as session:
            assert session.lost == ()
            outcome = await session.run("same.append(1)\nscale = 10\nprint(len(rows))\ntwice(3)")
            assert (outcome.logs, outcome.value) == ("2\n", "30")
            assert (await session.run("open('a.txt').read()")).value == "'one'"

    @pytest.mark.parametrize("data", [b"", b"x", b"\xff" * 100, b"\0" * 8])
    async def test_damage_is_no_more_than_a_loss(self, backend: Backend, data: bytes) -> None:
        async with opened(backend, goes_on=data) as session:
            assert (await session.run("1 + 1")).value == "2"

    async def test_what_is_too_large_is_not_saved(self, backend: Backend) -> None:
        async with opened(backend, saved=1000) as session:
            await session.run("x = 'a' * 100_000")
            assert await session.save() is None
            assert (await session.run("len(x)")).value == "100000"


async def test_the_description_names_the_folder(backend: Backend) -> None:
    assert "/mnt/data" in backend.description


SERVER = """
import asyncio, sys
from pathlib import Path
from chat.sandbox.base import SandboxLimits
from chat.sandbox.{module} import {name}
async def main():
    session = await {name}({arguments}).open(SandboxLimits(run_seconds=60))
    await session.run("x = 1")
    print(session.pid, flush=True)
    await session.run("while True: pass")
asyncio.run(main())
"""


async def test_a_server_that_is_killed_leaves_no_process(backend: Backend) -> None:
    place = ""
    if isinstance(backend, BubblewrapSandbox):
        place = f"Path({str(backend.environment)!r})"
    code = SERVER.format(
        module=backend.name,
        name=type(backend).__name__,
        arguments=place,
    )
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    session = psutil.Process(int(await server.stdout.readline()))
    family = [session, *session.children(recursive=True)]
    server.kill()
    await server.communicate()
    assert len(family) > 1
    assert await all_end(family)


def test_it_works_on_the_loop_that_serves(backend: Backend) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(run_alone(backend, "print('a')\n1 + 1"))
    assert (outcome.logs, outcome.value) == ("a\n", "2")
