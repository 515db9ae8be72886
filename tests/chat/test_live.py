"""Live delivery: every reader ends with the same text, wherever it begins, however slow it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.runs.delivery import hub as hub_module
from chat.runs.delivery.hub import LiveRun, hub
from chat.runs.events import Cursor, Entry, Remainder, merge_entries

TENANT = uuid4()
RUN = {"id": "run_1", "object": "thread.run"}


@pytest.fixture(autouse=True)
def empty_hub() -> Iterator[None]:
    hub.channels.clear()
    yield
    hub.channels.clear()


def texts(entries: list[Entry]) -> str:
    """Return the delta text of entries, joined."""
    return "".join(entry.text or "" for entry in entries)


def names(entries: list[Entry]) -> list[str]:
    return [entry.event for entry in entries]


async def test_a_reader_that_keeps_up_shares_the_encoded_frame() -> None:
    run = LiveRun(TENANT, "thread_1", "run_1", state=0)
    first, second = hub.subscribe(TENANT, "thread_1"), hub.subscribe(TENANT, "thread_1")
    run.text("msg_1", "Hel")
    [one], [two] = await first.entries(), await second.entries()
    assert one.get_frame("thread_1") is two.get_frame("thread_1")


async def test_a_slow_reader_gets_wider_frames() -> None:
    run = LiveRun(TENANT, "thread_1", "run_1", state=0)
    reader = hub.subscribe(TENANT, "thread_1")
    for piece in ("a", "b", "c"):
        run.text("msg_1", piece)
    run.publish("thread.message.completed", {"id": "msg_1"})
    entries = await reader.entries()
    assert len(entries) == 2
    assert texts(entries) == "abc"


async def test_what_a_waiting_reader_takes_at_once_is_not_returned() -> None:
    run = LiveRun(TENANT, "thread_1", "run_1", state=0)
    reader = hub.subscribe(TENANT, "thread_1")
    offered: list[Entry] = []

    def only_the_first(entry: Entry) -> bool:
        offered.append(entry)
        return len(offered) == 1

    waiting = asyncio.create_task(reader.entries(only_the_first))
    await asyncio.sleep(0)
    for piece in ("a", "b", "c"):
        run.text("msg_1", piece)
    assert texts(await waiting) == "bc"
    assert texts(offered) == "ab"


async def test_state_numbers_grow_with_events_and_not_with_text() -> None:
    run = LiveRun(TENANT, "thread_1", "run_1", state=4)
    reader = hub.subscribe(TENANT, "thread_1")
    run.publish("thread.message.created", {})
    run.text("msg_1", "x")
    run.publish("thread.message.completed", {})
    states = [entry.state for entry in await reader.entries()]
    assert states == [5, 5, 6]


async def test_another_tenants_channel_of_the_same_thread_hears_nothing() -> None:
    run = LiveRun(TENANT, "thread_1", "run_1", state=0)
    stranger = hub.subscribe(uuid4(), "thread_1")
    run.text("msg_1", "secret")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stranger.entries(), 0.01)


async def test_the_log_is_forgotten_when_the_run_is_over_and_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_module, "LINGER_SECONDS", 0)
    run = LiveRun(TENANT, "thread_1", "run_1", state=0)
    reader = hub.subscribe(TENANT, "thread_1")
    run.text("msg_1", "x")
    await reader.entries()
    run.end()
    assert reader.channel.log == []
    reader.close()
    assert hub.channels == {}


async def test_a_reader_that_comes_late_gets_the_run_from_its_start() -> None:
    run = LiveRun(TENANT, "thread_1", "run_1", state=0)
    run.publish("thread.message.created", {"id": "msg_1"})
    run.text("msg_1", "Hello")
    reader = hub.subscribe(TENANT, "thread_1")
    reader.seek(())
    entries = await reader.entries()
    assert entries[0].event == "thread.message.created"
    assert texts(entries) == "Hello"


async def test_what_happened_while_a_reader_was_placed_is_not_skipped() -> None:
    before = LiveRun(TENANT, "thread_1", "run_1", state=0)
    reader = hub.subscribe(TENANT, "thread_1")
    before.publish("thread.run.completed", {"id": "run_1"})
    before.end()
    LiveRun(TENANT, "thread_1", "run_2", state=0).publish("thread.run.created", {"id": "run_2"})
    reader.seek(())
    assert names(await reader.entries()) == ["thread.run.completed", "thread.run.created"]


async def test_a_long_answer_is_kept_in_few_pieces_and_told_whole() -> None:
    run = LiveRun(TENANT, "thread_1", "run_1", state=0)
    slow = hub.subscribe(TENANT, "thread_1")
    for number in range(1000):
        run.text("msg_1", f"{number} ")
        if number == 300:
            slow.take()
    late = hub.subscribe(TENANT, "thread_1")
    late.seek(())
    said = "".join(f"{number} " for number in range(1000))
    assert texts(await late.entries()) == said
    assert said.endswith(texts(slow.take()))
    for _more in range(hub_module.COMPACT_AFTER):
        run.text("msg_1", "and more ")
    assert len(run.channel.log) <= 2 * hub_module.COMPACT_AFTER


async def test_a_run_that_just_ended_is_told_from_its_first_event() -> None:
    run = LiveRun(TENANT, "thread_1", "run_1", state=0)
    run.publish("thread.run.created", RUN)
    run.text("msg_1", "Hello")
    run.publish("thread.run.completed", RUN)
    run.end()
    reader = hub.subscribe(TENANT, "thread_1")
    reader.seek([Entry("run_1", 12, "thread.run.completed", RUN)], run_id="run_1")
    entries = await reader.entries()
    assert names(entries) == ["thread.run.created", "thread.message.delta", "thread.run.completed"]
    assert texts(entries) == "Hello"


async def test_rows_newer_than_the_log_of_an_ended_run_win() -> None:
    run = LiveRun(TENANT, "thread_1", "run_1", state=0)
    run.publish("thread.run.requires_action", RUN)
    run.end()
    reader = hub.subscribe(TENANT, "thread_1")
    reader.seek([Entry("run_1", 12, "thread.run.cancelled", RUN)])
    assert names(await reader.entries()) == ["thread.run.cancelled"]


async def test_what_a_resumed_run_did_before_is_told_by_the_rows() -> None:
    run = LiveRun(TENANT, "thread_1", "run_1", state=10)
    run.publish("thread.run.in_progress", RUN)
    step = {"id": "step_1", "object": "thread.run.step"}
    rows = [Entry("run_1", 0, "thread.run.step.completed", step)]
    rows.append(Entry("run_1", 0, "thread.run.in_progress", RUN))
    reader = hub.subscribe(TENANT, "thread_1")
    reader.seek(rows, cursor=Cursor("run_1", 3))
    assert names(await reader.entries()) == ["thread.run.step.completed", "thread.run.in_progress"]


PIECES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["msg_1", "msg_2"]), st.text(min_size=1, max_size=5)),
        st.none(),
    ),
    max_size=30,
)


@given(PIECES, st.data())
def test_resuming_anywhere_yields_exactly_the_rest(
    script: list[tuple[str, str] | None], data: st.DataObject
) -> None:
    hub.channels.clear()
    run = LiveRun(TENANT, "thread_1", "run_1", state=0)
    for step in script:
        if step is None:
            run.publish("thread.run.step.created", {})
        else:
            run.text(*step)
    whole = all_texts(run.channel.log)
    cut = data.draw(st.integers(0, len(run.channel.log)))
    seen = run.channel.log[:cut]
    have = all_texts(seen)
    # Part of the last text may be all that arrived.
    offsets = {item: data.draw(st.integers(0, len(text))) for item, text in have.items()}
    state = max((entry.state for entry in seen), default=0)
    cut_to = Remainder(Cursor("run_1", state, offsets))
    rest = list(merge_entries([found for entry in run.channel.log for found in cut_to.of(entry)]))
    for item, text in whole.items():
        got = have.get(item, "")[: offsets.get(item, 0)]
        assert got + all_texts(rest).get(item, "") == text
    events = [entry.state for entry in rest if entry.text is None]
    assert events == list(range(state + 1, run.state + 1))


def all_texts(entries: Any) -> dict[str, str]:
    """Return each item's text in `entries`."""
    found: dict[str, str] = {}
    for entry in entries:
        if entry.text is not None:
            found[entry.item] = found.get(entry.item, "") + entry.text
    return found
