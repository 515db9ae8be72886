"""The code interpreter: one session for each thread, whose state goes from process to process."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.core.files.storage import default_storage

from chat import storage
from chat.tasks import erase_code_sessions, erase_deleted_threads, erase_files
from chat.tools import code_interpreter, dispatch, ledger
from chat.tools.base import ToolError
from chat.tools.code_sessions import CodeSessions, build_limits, get_code_sessions
from tenants.db import in_db
from tests.chat.coding import (
    add_input,
    attach,
    code_usage,
    coding,
    compute,
    contents_of,
    delete_thread,
    disable,
    give_assistant,
    in_use,
    lapse,
    other_process,
    processes,
    result,
    session_row,
    set_price,
    started_call,
    take_tools,
    told,
    two_hours_pass,
    used_bytes,
)
from tests.clock import WAIT_SECONDS
from tests.sandbox.opened import SHORT_SECONDS, all_end
from tests.world import World

FOREVER = "while True:\n    pass"
WILL_NOT_LOAD = """
class Trap:
    def __reduce__(self):
        return eval, ("__import__('os')._exit(3)",)
trap = Trap()
"""
pytestmark = pytest.mark.usefixtures("stored")


async def test_variables_and_files_are_there_for_the_next_code(world: World, backend: str) -> None:
    async with coding(world.acme) as run:
        await compute(world.acme, run, "total = 41\nopen('a.txt', 'w').write('one')")
        found = await result(world.acme, run, "print(open('a.txt').read())\ntotal + 1")
    assert (found["logs"], found["value"]) == ("one\n", "42")


async def test_another_process_goes_on_and_the_first_one_notices(
    world: World, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with coding(world.acme) as run:
        await compute(world.acme, run, "numbers = [1]\nopen('a.txt', 'w').write('one')")
        async with other_process(monkeypatch):
            [row] = await compute(world.acme, run, "numbers.append(2)")
        found = await result(world.acme, run, "numbers.append(3)\n(numbers, open('a.txt').read())")
    assert found["value"] == "([1, 2, 3], 'one')"
    assert row.details is not None
    assert row.details["files"] == []


async def test_calls_of_one_round_run_one_after_another(world: World, monty: None) -> None:
    async with coding(world.acme) as run:
        await compute(world.acme, run, "numbers = []")
        rows = await compute(world.acme, run, *(f"numbers.append({n})\nnumbers" for n in range(4)))
    assert [len(told(row)["value"]) for row in rows] == [3, 6, 9, 12]


async def test_an_attached_file_is_read_by_its_name(world: World, backend: str) -> None:
    async with coding(world.acme) as run:
        mine = await in_db(add_input, world.acme, b"month,total\n1,20\n", owner="alice")
        await in_db(attach, world.acme, run, mine)
        found = await result(world.acme, run, "print(open('/mnt/data/sales.csv').read())")
    assert found["logs"] == "month,total\n1,20\n\n"


async def test_the_companys_files_come_from_the_assistant(world: World, monty: None) -> None:
    async with coding(world.acme) as run:
        mine = await in_db(add_input, world.acme, b"1", owner=None, name="rates.csv")
        await in_db(give_assistant, world.acme, world.acme.assistant.pk, mine)
        found = await result(world.acme, run, "open('rates.csv').read()")
    assert found["value"] == "'1'"


async def test_names_are_made_plain_and_distinct(world: World, monty: None) -> None:
    names = ["../../etc/passwd", "a.csv", "a.csv", "...", "exe\u202etxt.py", "x" * 240 + ".csv"]
    async with coding(world.acme) as run:
        ids = [await in_db(add_input, world.acme, b"1", owner="alice", name=name) for name in names]
        await in_db(attach, world.acme, run, *ids)
        found = await result(
            world.acme, run, "from pathlib import Path\nsorted(p.name for p in Path('.').iterdir())"
        )
    plain = ["_.._etc_passwd", "a (2).csv", "a.csv", "exe_txt.py", "file", "x" * 188 + ".csv"]
    assert found["value"] == repr(sorted(plain))


async def test_files_of_an_assistant_without_code_are_not_laid_in(
    world: World, monty: None
) -> None:
    async with coding(world.acme) as run:
        ours = await in_db(add_input, world.acme, b"a,b", owner=None)
        await in_db(give_assistant, world.acme, world.acme.assistant.pk, ours)
        await in_db(take_tools, world.acme, world.acme.assistant.pk)
        found = await result(world.acme, run, "open('sales.csv').read()")
    assert "No such file" in found["error"]


@pytest.mark.parametrize(("company", "owner"), [("acme", "bob"), ("globex", "gina")])
async def test_files_of_others_are_not_laid_in(
    world: World, monty: None, company: str, owner: str
) -> None:
    async with coding(world.acme) as run:
        theirs = await in_db(add_input, getattr(world, company), b"secret", owner=owner)
        await in_db(attach, world.acme, run, theirs)
        found = await result(world.acme, run, "open('sales.csv').read()")
    assert "No such file" in found["error"]


async def test_a_file_that_is_too_large_is_named_not_read_and_the_code_runs(
    world: World, monty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "read_content", None)
    async with coding(world.acme) as run:
        large = await in_db(add_input, world.acme, bytes(16 * 2**20 + 1), owner="alice")
        await in_db(attach, world.acme, run, large)
        found = await result(world.acme, run, "1 + 1")
    assert found["value"] == "2"
    [note] = found["notes"]
    assert note.startswith("sales.csv is not available: A file in a session can have at most")


async def test_a_file_that_the_code_wrote_is_the_members(world: World, backend: str) -> None:
    async with coding(world.acme) as run:
        [row] = await compute(world.acme, run, "open('sums.csv', 'w').write('a,1')\nNone")
    assert row.details is not None
    [file] = row.details["files"]
    assert (file["name"], file["bytes"]) == ("sums.csv", 3)
    stored, data = await in_db(contents_of, world.acme, file["file_id"])
    assert (stored.member_id, stored.purpose) == (world.acme.alice.pk, "assistants_output")
    assert (stored.media_type, data) == ("text/csv", b"a,1")
    assert told(row)["files"] == ["/mnt/data/sums.csv"]


DRAWN = {
    "monty": ("chart('bar', [{'x': 'a', 'y': 1}], title='Sums')", "image/svg+xml", b"<svg"),
    "bubblewrap": ("import matplotlib.pyplot as p\np.plot([1, 2])\nNone", "image/png", b"\x89PNG"),
}


async def test_a_chart_is_a_picture(world: World, backend: str) -> None:
    source, media_type, beginning = DRAWN[backend]
    async with coding(world.acme) as run:
        [row] = await compute(world.acme, run, source)
    assert row.details is not None
    [picture] = row.details["images"]
    stored, data = await in_db(contents_of, world.acme, picture)
    assert (stored.media_type, data[: len(beginning)]) == (media_type, beginning)


async def test_an_error_of_the_code_is_its_result(world: World, monty: None) -> None:
    async with coding(world.acme) as run:
        [row] = await compute(world.acme, run, "print('so far')\n1 / 0")
    assert row.status == "completed"
    assert row.details is not None
    assert (row.details["logs"], "ZeroDivisionError" in row.details["error"]) == ("so far\n", True)


async def test_code_over_its_time_is_told_and_the_next_goes_on(
    world: World, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.CHAT, "CODE_SECONDS", SHORT_SECONDS)
    bounds = replace(build_limits(), grace_seconds=WAIT_SECONDS)
    monkeypatch.setattr("chat.tools.code_sessions.build_limits", lambda: bounds)
    async with coding(world.acme) as run:
        await compute(world.acme, run, "kept = 5")
        late = await result(world.acme, run, FOREVER)
        found = await result(world.acme, run, "kept")
    assert "Timeout" in late["error"] or "timed out" in late["error"]
    assert found["value"] == "5"


async def test_code_without_memory_is_told_and_the_next_goes_on(
    world: World, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.CHAT, "CODE_MEMORY_MIB", 64)
    async with coding(world.acme) as run:
        await compute(world.acme, run, "kept = 5")
        late = await result(world.acme, run, "big = 'x' * (2000 * 1024 * 1024)")
        found = await result(world.acme, run, "kept")
    assert "MemoryError" in late["error"]
    assert found["value"] == "5"


async def test_a_long_output_is_cut_in_its_middle(world: World, monty: None) -> None:
    async with coding(world.acme) as run:
        found = await result(world.acme, run, "print('a' * 30000)\nprint('the end')")
    assert len(found["logs"]) < 20_100
    assert "[truncated: 30009 characters in total]" in found["logs"]
    assert found["logs"].endswith("the end\n")


async def test_stopped_code_is_killed_and_the_next_begins_before_it(
    world: World, backend: str
) -> None:
    async with coding(world.acme) as run:
        await compute(world.acme, run, "steps = 1")
        [process] = processes(get_code_sessions())
        task = asyncio.create_task(compute(world.acme, run, f"steps = 2\n{FOREVER}"))
        await in_use(get_code_sessions())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await all_end([process])
        found = await result(world.acme, run, "steps")
    assert found["value"] == "1"


class Died(Exception):
    """The process did, before it could end a call."""


def die(*args: object, **kwargs: object) -> None:
    raise Died


async def test_a_repeated_call_begins_with_the_state_before_it(
    world: World, monty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with coding(world.acme) as run:
        await compute(world.acme, run, "steps = [1]")
        with monkeypatch.context() as patch:
            patch.setattr(ledger, "end", die)
            with pytest.raises(Died):
                await compute(world.acme, run, "steps.append(2)\nsteps")
        call = await in_db(started_call, world.acme, run)
        row = await dispatch.recover(run, call)
    assert told(row)["value"] == "[1, 2]"


async def test_nothing_is_kept_beyond_the_companys_storage(
    world: World, monty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.CHAT, "STORAGE_BYTES", 5000)
    async with coding(world.acme) as run:
        source = "open('a.txt', 'w').write('x' * 3000)\nopen('b.txt', 'w').write('x' * 3000)"
        [row] = await compute(world.acme, run, source)
        used = await in_db(used_bytes, world.acme)
    assert row.details is not None
    assert [file["name"] for file in row.details["files"]] == ["a.txt"]
    assert used == 3000
    assert row.details["notes"] == [
        code_interpreter.NOT_KEPT,
        "The company's storage is full. Not saved: b.txt.",
    ]


async def test_a_state_that_could_not_be_kept_is_told_of(
    world: World, monty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.CHAT, "STORAGE_BYTES", 10)
    async with coding(world.acme) as run:
        await compute(world.acme, run, "kept = 5")
        here = await result(world.acme, run, "kept")
        async with other_process(monkeypatch):
            found = await result(world.acme, run, "1")
    assert here["value"] == "5"
    assert code_interpreter.GONE in found["notes"]


async def test_what_could_not_be_pickled_is_named(
    world: World, bubblewrap: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with coding(world.acme) as run:
        await compute(world.acme, run, "rows = (n for n in range(3))")
        async with other_process(monkeypatch):
            found = await result(world.acme, run, "1")
    assert found["notes"] == [code_interpreter.LOST.format(names="rows")]


async def test_a_state_that_does_not_start_again_is_left_behind(
    world: World, bubblewrap: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with coding(world.acme) as run:
        await compute(world.acme, run, WILL_NOT_LOAD)
        async with other_process(monkeypatch):
            found = await result(world.acme, run, "1 + 1")
    assert (found["value"], found["notes"]) == ("2", [code_interpreter.GONE])


async def test_a_session_is_metered_once_an_hour(world: World, monty: None) -> None:
    await in_db(set_price, world.acme)
    async with coding(world.acme) as run:
        await compute(world.acme, run, "1", "2")
        assert len(await in_db(code_usage, world.acme)) == 1
        await in_db(lapse, world.acme)
        await compute(world.acme, run, "3")
    rows = await in_db(code_usage, world.acme)
    assert [(str(row.price), row.currency) for row in rows] == [("0.030000000000", "EUR")] * 2
    assert {(int(row.quantity), row.unit) for row in rows} == {(1, "session")}


async def test_a_lapsed_session_leaves_nothing(world: World, monty: None) -> None:
    async with coding(world.acme) as run:
        await compute(world.acme, run, "kept = 5")
        row = await in_db(session_row, world.acme, run)
        assert row is not None
        assert await in_db(used_bytes, world.acme) == row.bytes > 0
        await in_db(lapse, world.acme)
        await erase_code_sessions.func(timestamp=0)
        await erase_files.func(timestamp=0)
        assert await in_db(session_row, world.acme, run) is None
        assert await in_db(used_bytes, world.acme) == 0
        assert not default_storage.exists(row.storage_key)
        assert code_interpreter.GONE not in (await result(world.acme, run, "1"))["notes"]


async def test_each_state_takes_the_place_of_the_one_before(world: World, monty: None) -> None:
    async with coding(world.acme) as run:
        await compute(world.acme, run, "kept = 'x' * 10000")
        first = await in_db(session_row, world.acme, run)
        await compute(world.acme, run, "kept = 5")
        second = await in_db(session_row, world.acme, run)
        await erase_files.func(timestamp=0)
        assert first is not None
        assert second is not None
        assert await in_db(used_bytes, world.acme) == second.bytes < first.bytes
        assert not default_storage.exists(first.storage_key)
        assert default_storage.exists(second.storage_key)


async def test_an_erased_thread_takes_its_code_along(world: World, monty: None) -> None:
    async with coding(world.acme) as run:
        await compute(world.acme, run, "kept = 5")
        row = await in_db(session_row, world.acme, run)
        await in_db(delete_thread, world.acme, run, timedelta(days=1))
        await erase_deleted_threads.func(timestamp=0)
        await erase_files.func(timestamp=0)
        assert row is not None
        assert await in_db(session_row, world.acme, run) is None
        assert not default_storage.exists(row.storage_key)


@pytest.mark.parametrize("ended", ["thread", "membership", "hour"])
async def test_a_process_that_nobody_may_go_on_with_is_closed(
    world: World, monty: None, ended: str
) -> None:
    async with coding(world.acme) as run:
        await compute(world.acme, run, "kept = 5")
        running = processes(get_code_sessions())
        await get_code_sessions().close_stale()
        assert processes(get_code_sessions()) == running
        if ended == "thread":
            await in_db(delete_thread, world.acme, run, timedelta())
        elif ended == "membership":
            await in_db(disable, world.acme, "alice")
        else:
            await in_db(lapse, world.acme)
        await get_code_sessions().close_stale()
        assert processes(get_code_sessions()) == []
        assert await all_end(running)


async def test_the_longest_idle_process_makes_room(
    world: World, monty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.CHAT, "CODE_SESSIONS", 1)
    async with coding(world.acme) as alices, coding(world.acme, "bob") as bobs:
        await compute(world.acme, alices, "whose = 'alice'")
        await compute(world.acme, bobs, "whose = 'bob'")
        assert len(processes(get_code_sessions())) == 1
        assert (await result(world.acme, alices, "whose"))["value"] == "'alice'"
        assert (await result(world.acme, bobs, "whose"))["value"] == "'bob'"


async def test_code_runs_while_the_disk_takes_nothing(
    world: World, monty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with coding(world.acme) as run:
        monkeypatch.setattr(default_storage, "_save", broken)
        found = await result(world.acme, run, "open('a.txt', 'w').write('one')\n42")
    assert found["value"] == "42"
    assert found["notes"][0].startswith("a.txt was not saved: ")
    assert found["notes"][1] == code_interpreter.NOT_KEPT


def broken(*args: object) -> None:
    raise OSError("The disk is broken.")


async def test_a_companys_code_leaves_room_for_that_of_others(
    world: World, monty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.CHAT, "CODE_SESSIONS", 2)
    monkeypatch.setattr("chat.tools.code_sessions.WAIT_SECONDS", 0.05)
    sessions = CodeSessions()
    end = await sessions.begin(world.acme.threads["alice"])
    with pytest.raises(ToolError, match="Too much code"):
        await sessions.begin(world.acme.threads["bob"])
    (await sessions.begin(world.globex.threads["gina"]))()
    end()
    (await sessions.begin(world.acme.threads["bob"]))()


async def test_what_a_call_wrote_that_never_ended_is_removed(
    world: World, monty: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with coding(world.acme) as run:
        with monkeypatch.context() as patch:
            patch.setattr(ledger, "end", die)
            with pytest.raises(Died):
                await compute(world.acme, run, "open('a.txt', 'w').write('one')")
        assert len(stored_bytes(tmp_path)) == 2
        await in_db(two_hours_pass, world.acme)
        await erase_files.func(timestamp=0)
    assert stored_bytes(tmp_path) == []
    assert await in_db(used_bytes, world.acme) == 0


def stored_bytes(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_sandbox_that_does_not_work_is_told_to_the_model(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(settings.CHAT, "CODE_SANDBOX", "bubblewrap")
    monkeypatch.setitem(settings.CHAT, "CODE_ENVIRONMENT", tmp_path)
    async with coding(world.acme) as run:
        [row] = await compute(world.acme, run, "1")
    assert (row.status, row.error_code) == ("failed", "sandbox_unavailable")


async def test_without_a_setting_the_stronger_sandbox_that_works_is_taken(
    bubblewrap: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    works = settings.CHAT["CODE_ENVIRONMENT"]
    monkeypatch.setitem(settings.CHAT, "CODE_SANDBOX", "auto")
    monkeypatch.setitem(settings.CHAT, "CODE_ENVIRONMENT", tmp_path)
    assert (await CodeSessions().sandbox()).name == "monty"
    monkeypatch.setitem(settings.CHAT, "CODE_ENVIRONMENT", works)
    assert (await CodeSessions().sandbox()).name == "bubblewrap"
