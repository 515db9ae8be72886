"""Between a claim's commit and the beginning of its task, recovery takes nothing up."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from django.conf import settings

from chat.models import Run
from chat.runs.engine.worker import Worker, worker
from chat.runs.state.claims import pending_claims
from chat.runs.state.turn import ClaimedRun
from tenants.db import in_db
from tests import clock
from tests.chat.at_work import idle, say, working
from tests.chat.saying import unclaimed_run
from tests.chat.test_worker import claim, stored
from tests.world import Company, World


def token_and_status(company: Company, run_id: str) -> tuple[int, str]:
    with company.scope():
        run = Run.objects.get(pk=run_id)
        return run.token, run.status


async def test_a_run_that_is_about_to_begin_is_executed_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[ClaimedRun] = []
    async with working(monkeypatch):
        monkeypatch.setattr(Worker, "submit", lambda _self, started: held.append(started))
        sent = await say(world.acme)
        assert sent.run is not None
        for _look in range(3):
            await worker.recover()
        assert held and worker.runs == {}
        assert await in_db(token_and_status, world.acme, sent.run.pk) == (1, "queued")
        worker._begin(held[0])
        await idle()
    assert await in_db(token_and_status, world.acme, sent.run.pk) == (1, "completed")


async def test_a_run_claimed_while_recovery_looks_is_executed_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Worker()
    run = await in_db(unclaimed_run, world.acme)
    looks: list[Any] = []

    async def claim_before_the_query(fn: Any, *args: Any, **kwargs: Any) -> Any:
        if not looks:
            looks.append(await in_db(claim, run, own.process_id))
        return await in_db(fn, *args, **kwargs)

    monkeypatch.setattr("chat.runs.engine.worker.in_db", claim_before_the_query)
    for _look in range(3):
        await own._reclaim_unattended()
    assert (await in_db(stored, world.acme, run)).token == 1
    assert own.runs == {}


async def test_a_claim_that_never_begins_is_taken_up_after_a_lapse(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(monkeypatch, LAPSE_SECONDS=0.3):
        with monkeypatch.context() as lost:
            lost.setattr(Worker, "submit", lambda _self, _started: None)
            sent = await say(world.acme)
        assert sent.run is not None
        await clock.until(lambda: not pending_claims.list_run_ids(worker.process_id))
        for _look in range(2):
            await worker.recover()
        await idle()
    assert await in_db(token_and_status, world.acme, sent.run.pk) == (2, "completed")


async def test_a_claim_counts_until_a_busy_loop_has_had_its_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Worker()
    pending_claims.loop = loop = BusyLoop()  # type: ignore[assignment]
    monkeypatch.setitem(settings.CHAT, "LAPSE_SECONDS", 0.0)
    run = await in_db(unclaimed_run, world.acme)
    await in_db(claim, run, own.process_id)
    before = pending_claims.list_run_ids(own.process_id)
    loop.turn()
    assert (before, pending_claims.list_run_ids(own.process_id)) == ({run.pk}, set())


class BusyLoop:
    """An event loop that does nothing until it is told to."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def is_closed(self) -> bool:
        return False

    def call_soon_threadsafe(self, callback: Any, *args: Any) -> None:
        self.waiting.append(partial(callback, *args))

    def turn(self) -> None:
        for callback in self.waiting:
            callback()
