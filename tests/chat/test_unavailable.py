"""A model server that is down: runs wait for it, say so, and go on when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.conf import settings

from chat import wire
from chat.actions.runs.manage import cancel_run
from chat.actions.send_message import CreatedMessage
from chat.models import Run
from chat.runs import upstreams
from chat.runs.delivery.replica import catch_up
from chat.runs.engine.waiting_runs import waiting_runs
from chat.runs.engine.worker import worker
from chat.runs.events import Entry
from chat.runs.state import recovery
from chat.upstream.breaker import Breaker, Breakers
from tenants.db import in_db
from tests import clock
from tests.chat.at_work import Told, assistant_on, idle, lose_patience, say, stored, working
from tests.clock import pass_time, time_limit
from tests.upstream.script import Answer
from tests.upstream.server import ScriptedServer
from tests.world import Company, World

DOWN = Answer(status=503)
OK = Answer(say=("All ", "is ", "well."))
ANSWERED_FAILURE = Answer(error={"code": "server_error", "message": "m"})
# Shorter than the time of a run.
LONG_PAUSE = 300.0


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return what sets the pause of breakers made from now on, in seconds."""

    def set_pause(seconds: float) -> None:
        def make(self: Breakers, key: Any) -> Breaker:
            made = self._by_key.get(key)
            if made is None:
                made = self._by_key[key] = Breaker(pause=seconds, max_pause=seconds)
            return made

        monkeypatch.setattr(Breakers, "of", make)

    return set_pause


async def asked(company: Company, text: str, *, name: str = "alice") -> CreatedMessage:
    """Ask the model server in a chat of its own."""
    return await say(company, text, name=name, assistant=await assistant_on(company, "responses"))


def status_of(sent: CreatedMessage, told: Told) -> dict[str, Any]:
    """Return the last run object that readers were told."""
    assert sent.run is not None
    runs = [
        data
        for run, name, data in told.events
        if run == sent.run.pk and name.startswith("thread.run.") and data["object"] == "thread.run"
    ]
    return runs[-1]


async def outage(world: World, upstream: ScriptedServer, told: Told) -> list[CreatedMessage]:
    """Let the server be down: runs of two chats fail, those of three more wait and are returned."""
    for number in range(5):
        upstream.when(f"down {number}", DOWN, repeat=True)
    for number in (3, 4):
        await asked(world.acme, f"down {number}")
        await idle()
    sent: list[CreatedMessage] = []
    for number in range(3):
        sent.append(await asked(world.acme, f"down {number}"))
        # The next one stands behind it.
        await clock.until(lambda: len(waiting_runs) == len(sent))
    return sent


async def stop(company: Company, sent: Sequence[CreatedMessage]) -> None:
    """Stop these runs of alice."""
    for message in sent:
        assert message.run is not None
        await in_db(cancel_run, company.principal("alice"), message.run.pk)
    await idle()


async def test_one_failing_prompt_stops_nobody(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream_server.when("bad", DOWN, repeat=True)
    upstream_server.when("good", OK)
    async with working(monkeypatch, upstream_server):
        bad = await asked(world.acme, "bad")
        await idle()
        assert bad.run is not None
        # Whoever asks for it again asks the same question.
        for _again in range(3):
            await say(world.acme, "bad", thread=bad.thread.pk, assistant=bad.run.assistant_id)
            await idle()
        good = await asked(world.acme, "good", name="pat")
        await idle()
    assert good.run is not None
    assert (await stored(world.acme, bad.run.pk)).run.reason == "upstream_unavailable"
    assert (await stored(world.acme, good.run.pk)).run.status == "completed"


async def test_answered_failures_stop_nobody(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream_server.when("bad", ANSWERED_FAILURE, repeat=True)
    upstream_server.when("good", OK)
    async with working(monkeypatch, upstream_server):
        for _chat in range(4):
            await asked(world.acme, "bad")
        await idle()
        good = await asked(world.acme, "good", name="pat")
        await idle()
    assert good.run is not None
    assert (await stored(world.acme, good.run.pk)).run.status == "completed"


async def test_runs_wait_and_say_so(
    world: World,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    pauses: Callable[[float], None],
) -> None:
    pauses(LONG_PAUSE)
    async with working(monkeypatch, upstream_server, MAX_RUNS=3) as told:
        before = await outage(world, upstream_server, told)
        requests = len(upstream_server.model_requests())
        later = await asked(world.acme, "later", name="pat")
        await clock.until(lambda: len(waiting_runs) == 4)
        assert later.run is not None
        for sent in (*before, later):
            run = status_of(sent, told)
            assert run["status"] == "in_progress"
            assert 0 < run["atrium"]["retry_in"] <= LONG_PAUSE
        # What waits takes no place from others.
        assert worker.claim_owner is not None
        assert len(upstream_server.model_requests()) == requests
        await until_stored(world.acme, later, waits=True)
        await in_db(cancel_run, world.acme.principal("pat"), later.run.pk)
        with time_limit(2):
            await clock.until(lambda: len(waiting_runs) == 3)
        upstream_server.when("elsewhere", OK)
        other = await asked(world.globex, "elsewhere", name="gina")
        await clock.until(lambda: status_of(other, told)["status"] == "completed")
        await stop(world.acme, before)
    one = await stored(world.acme, later.run.pk)
    assert (one.run.status, one.usage) == ("cancelled", [])
    assert wire.run_object(one.run)["atrium"]["retry_in"] is None


async def test_a_run_that_comes_during_a_trial_takes_no_place(
    world: World,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    pauses: Callable[[float], None],
) -> None:
    pauses(LONG_PAUSE)
    async with working(monkeypatch, upstream_server, MAX_RUNS=2) as told:
        before = await outage(world, upstream_server, told)
        for number in range(3):
            upstream_server.when(f"down {number}", Answer(stall=True), repeat=True)
        requests = len(upstream_server.model_requests())
        pass_time(LONG_PAUSE)
        await clock.until(lambda: len(waiting_runs) == 2)
        await asyncio.to_thread(upstream_server.wait_for_requests, requests + 1)
        later = await asked(world.acme, "later", name="pat")
        await clock.until(lambda: len(waiting_runs) == 3)
        assert status_of(later, told)["atrium"]["retry_in"] == 0
        assert worker.claim_owner is not None
        upstream_server.when("later", OK)
        await stop(world.acme, before)
        assert status_of(later, told)["status"] == "completed"
        assert len(waiting_runs) == 0


async def test_readers_of_a_stopped_wait_are_told_of_nothing_else(
    world: World,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    pauses: Callable[[float], None],
) -> None:
    pauses(LONG_PAUSE)
    async with working(monkeypatch, upstream_server) as told:
        [first, *others] = await outage(world, upstream_server, told)
        assert first.run is not None
        before = len(told.of(first.run.pk))
        await in_db(cancel_run, world.acme.principal("alice"), first.run.pk)
        await told.until("thread.run.cancelled", run=first.run.pk)
        assert told.of(first.run.pk)[before:] == ["thread.run.cancelled"]
        await stop(world.acme, others)


async def until_stored(company: Company, sent: CreatedMessage, *, waits: bool) -> Run:
    """Wait until the row tells whether the run waits."""
    assert sent.run is not None
    async with asyncio.timeout(clock.WAIT_SECONDS):
        while True:
            run = (await stored(company, sent.run.pk)).run
            if (run.retry_at is not None) == waits:
                return run
            await asyncio.sleep(0.01)


async def test_all_go_on_when_the_server_is_back(
    world: World,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    pauses: Callable[[float], None],
) -> None:
    pauses(LONG_PAUSE)
    async with working(monkeypatch, upstream_server) as told:
        sent = await outage(world, upstream_server, told)
        for number in range(3):
            upstream_server.when(f"down {number}", OK)
        pass_time(LONG_PAUSE)
        await idle()
        assert all(status_of(item, told)["status"] == "completed" for item in sent)
    assert sent[0].run is not None
    one = await stored(world.acme, sent[0].run.pk)
    assert one.run.retry_at is None
    assert (one.attempts("used"), one.spent("used")) == (1, [11, 7])


async def until_held(sent: Sequence[CreatedMessage], told: Told) -> None:
    """Wait until readers know that these runs could go on, and wait for room."""
    await clock.until(
        lambda: all(status_of(item, told)["atrium"]["retry_in"] == 0 for item in sent)
    )


async def test_they_go_on_in_their_order_as_there_is_room(
    world: World,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    pauses: Callable[[float], None],
) -> None:
    pauses(LONG_PAUSE)
    async with working(monkeypatch, upstream_server) as told:
        sent = await outage(world, upstream_server, told)
        monkeypatch.setitem(settings.CHAT, "MAX_RUNS", 1)
        for number in range(3):
            upstream_server.when(f"down {number}", Answer(say=("It is ", "back."), stall_after=1))
        requests = len(upstream_server.model_requests())
        pass_time(LONG_PAUSE)
        for going, left in zip(sent, (2, 1, 0), strict=True):
            assert going.run is not None
            await told.until("thread.message.in_progress", run=going.run.pk)
            await until_held(sent[3 - left :], told)
            assert len(waiting_runs) == left
            assert len(upstream_server.model_requests()) == requests + 3 - left
            await in_db(cancel_run, world.acme.principal("alice"), going.run.pk)
        await idle()
        assert [status_of(item, told)["status"] for item in sent] == ["cancelled"] * 3


async def test_one_that_is_stopped_while_it_waits_for_room_takes_none(
    world: World,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    pauses: Callable[[float], None],
) -> None:
    pauses(LONG_PAUSE)
    async with working(monkeypatch, upstream_server) as told:
        [first, second, third] = await outage(world, upstream_server, told)
        monkeypatch.setitem(settings.CHAT, "MAX_RUNS", 1)
        for number in (0, 2):
            upstream_server.when(f"down {number}", Answer(say=("It is ", "back."), stall_after=1))
        pass_time(LONG_PAUSE)
        assert first.run is not None and second.run is not None and third.run is not None
        await told.until("thread.message.in_progress", run=first.run.pk)
        await until_held([second, third], told)
        await in_db(cancel_run, world.acme.principal("alice"), second.run.pk)
        await told.until("thread.run.cancelled", run=second.run.pk)
        assert len(waiting_runs) == 1
        await in_db(cancel_run, world.acme.principal("alice"), first.run.pk)
        await told.until("thread.message.in_progress", run=third.run.pk)
        assert len(waiting_runs) == 0
        await stop(world.acme, [third])


async def test_a_poisonous_trial_does_not_keep_the_others_waiting(
    world: World,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    pauses: Callable[[float], None],
) -> None:
    pauses(0.05)
    upstream_server.when("good", OK)
    async with working(monkeypatch, upstream_server) as told:
        poisonous = await outage(world, upstream_server, told)
        good = await asked(world.acme, "good", name="pat")
        await clock.until(lambda: status_of(good, told)["status"] == "completed")
        await stop(world.acme, poisonous)


async def test_a_waiting_run_goes_on_in_another_process(
    world: World,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    pauses: Callable[[float], None],
) -> None:
    pauses(LONG_PAUSE)
    async with working(monkeypatch, upstream_server) as told:
        [first, *_others] = await outage(world, upstream_server, told)
        await until_stored(world.acme, first, waits=True)
    assert first.run is not None
    left = await stored(world.acme, first.run.pk)
    assert (left.run.status, left.run.owner) == ("in_progress", None)
    assert left.attempts("taken_over") == 0
    for number in range(3):
        upstream_server.when(f"down {number}", OK)
    async with working(monkeypatch, upstream_server):
        for run_id, tenant_id in await in_db(recovery.list_lapsed_runs):
            await worker.take_over(tenant_id, run_id)
        await idle()
    assert (await stored(world.acme, first.run.pk)).run.status == "completed"


async def test_a_late_server_is_asked_once(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream_server.expect(Answer(stall=True))
    async with working(monkeypatch, upstream_server):
        sent = await asked(world.acme, "slow")
        await asyncio.to_thread(upstream_server.wait_for_requests)
        lose_patience()
        await idle()
    assert sent.run is not None
    one = await stored(world.acme, sent.run.pk)
    assert (one.run.status, one.run.reason) == ("failed", "upstream_timeout")
    assert len(upstream_server.model_requests()) == 1
    # It was computing: that is billed.
    assert one.spent("failed")[0] > 0


@pytest.mark.parametrize(
    ("told", "stored", "is_news"),
    [(None, 100, True), (100, 200, True), (200, None, True), (100, 100, False)],
)
def test_the_rows_tell_of_a_wait_in_another_process(
    told: int | None, stored: int | None, is_news: bool
) -> None:
    def entry(state: int, retry_at: int | None) -> Entry:
        run = {"id": "run_a", "object": "thread.run", "status": "in_progress"}
        data = {**run, "atrium": {"retry_at": retry_at, "retry_in": None}}
        return Entry("run_a", state, "thread.run.in_progress", data)

    found = [
        item.data["atrium"]["retry_at"] for item in catch_up([entry(3, told)], [entry(2, stored)])
    ]
    assert found == ([stored] if is_news else [])


def test_there_is_one_breaker_for_each_tenant_and_server(world: World) -> None:
    tenants = (world.acme.tenant.pk, world.globex.tenant.pk)
    found = {upstreams.get_breaker(tenant, name) for tenant in tenants for name in ("", "demo")}
    assert len(found) == 4
