"""Many runs of one company do not hold up another's: in which order things are done."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.utils import timezone

from chat.models import Run, Thread
from chat.runs.engine.worker import Worker
from chat.runs.state import recovery
from chat.runs.state.enqueue import TenantPriorities
from tenants.db import in_db, set_pool_tenant
from tenants.fair_executor import FairExecutor
from tests.world import Company, World

PATIENCE = 60
A, B, C = (uuid4() for _each in range(3))


class TestLanes:
    def test_waiting_calls_take_turns_by_tenant(self) -> None:
        executor, release, order = FairExecutor(1, name="test"), threading.Event(), list[str]()
        calls = [executor.submit("first", lambda: release.wait(PATIENCE))]
        names = ["a1", "a2", "a3", "a4", "b1", "c1", "c2", "a5"]
        calls += [executor.submit(name[0], partial(order.append, name)) for name in names]
        release.set()
        for call in calls:
            call.result(PATIENCE)
        assert order == ["a1", "b1", "c1", "a2", "c2", "a3", "a4", "a5"]

    def test_results_and_errors_reach_their_caller(self) -> None:
        executor = FairExecutor(2, name="test")
        assert executor.submit("a", lambda: 7).result(PATIENCE) == 7
        failed = executor.submit("a", lambda: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            failed.result(PATIENCE)
        assert executor.submit("a", lambda: 8).result(PATIENCE) == 8

    def test_a_cancelled_call_is_left_out(self) -> None:
        executor, release, order = FairExecutor(1, name="test"), threading.Event(), list[str]()
        first = executor.submit("a", lambda: release.wait(PATIENCE))
        given_up = executor.submit("a", lambda: order.append("given up"))
        last = executor.submit("a", lambda: order.append("last"))
        assert given_up.cancel()
        release.set()
        last.result(PATIENCE)
        assert first.result(PATIENCE)
        with pytest.raises(CancelledError):
            given_up.result(PATIENCE)
        assert order == ["last"]

    async def test_database_work_takes_turns_by_company(self, world: World) -> None:
        threads = settings.DATABASE_THREADS
        release, order = threading.Event(), list[str]()

        async def work(tenant_id: UUID, name: str) -> None:
            set_pool_tenant(tenant_id)
            await in_db(order.append, name)

        async def hold() -> None:
            await in_db(release.wait, PATIENCE)

        holding = [asyncio.create_task(hold()) for _thread in range(threads)]
        await asyncio.sleep(0)
        acme, globex = world.acme.tenant.pk, world.globex.tenant.pk
        flood = [asyncio.create_task(work(acme, "acme")) for _call in range(100)]
        await asyncio.sleep(0)
        other = asyncio.create_task(work(globex, "globex"))
        await asyncio.sleep(0)
        release.set()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*holding, *flood, other)
        # Second in the queue; threads that began beside it may have been quicker.
        assert order.index("globex") <= 1 + threads


def full_worker(monkeypatch: pytest.MonkeyPatch, room: int, *tenants: UUID) -> Worker:
    """Return a worker that executes a run for each of these tenants."""
    monkeypatch.setitem(settings.CHAT, "MAX_RUNS", room)
    worker = Worker(event_loop=asyncio.new_event_loop())
    assert worker.event_loop is not None
    worker.event_loop.close()
    for tenant_id in tenants:
        begin(worker, tenant_id)
    return worker


def begin(worker: Worker, tenant_id: UUID) -> None:
    claim: Any = SimpleNamespace(tenant_id=tenant_id)
    worker.runs[str(uuid4())] = SimpleNamespace(started=SimpleNamespace(claim=claim))  # type: ignore[assignment]


class TestRoomForRuns:
    def test_one_company_may_have_all_of_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        worker = full_worker(monkeypatch, 8, *[A] * 7)
        assert worker.get_owner_for(A) == worker.process_id
        begin(worker, A)
        assert worker.get_owner_for(A) is None

    def test_another_company_does_not_wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        worker = full_worker(monkeypatch, 8, *[A] * 8)
        assert worker.get_owner_for(B) == worker.process_id
        begin(worker, B)
        assert worker.get_owner_for(A) is None
        assert worker.get_owner_for(B) == worker.process_id

    def test_what_goes_beyond_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        worker = full_worker(monkeypatch, 8, *[A] * 8, B, C)
        assert [worker.get_owner_for(tenant) for tenant in (A, B, C, uuid4())] == [None] * 4

    def test_a_company_with_its_share_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        worker = full_worker(monkeypatch, 8, *[A] * 4, *[B] * 4)
        assert worker.get_owner_for(A) is None
        assert worker.get_owner_for(B) is None
        assert worker.get_owner_for(C) == worker.process_id

    def test_without_a_company_the_limit_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert full_worker(monkeypatch, 2, A, A).get_owner_for(None) is None


def waiting_run(company: Company, name: str, *, seconds: int) -> str:
    """Make a run that no process holds and that is due in so many seconds."""
    with company.scope():
        thread = Thread.objects.create(member=company.people[name])
        run: Run = Run.objects.create(
            thread=thread,
            assistant=company.assistant,
            assistant_ref=company.assistant.pk,
            member=company.people[name],
            status="queued",
            model="demo-scripted",
            upstream="demo",
            expires_at=timezone.now() + timedelta(seconds=seconds),
        )
        return run.pk


def test_runs_that_wait_are_found_by_turns(world: World) -> None:
    acme = [waiting_run(world.acme, "alice", seconds=100 + number) for number in range(4)]
    globex = [waiting_run(world.globex, "gina", seconds=300 + number) for number in range(2)]
    found = [run_id for run_id, _tenant in recovery.list_lapsed_runs()]
    assert found == [acme[0], globex[0], acme[1], globex[1], acme[2], acme[3]]


async def test_of_a_company_without_room_one_run_is_tried(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, tried = full_worker(monkeypatch, 4, *[A] * 4), list[str]()

    async def take_over(tenant_id: UUID, run_id: str) -> bool:
        tried.append(run_id)
        return False

    monkeypatch.setattr(worker, "take_over", take_over)
    found = [("a1", A), ("b1", B), ("a2", A), ("b2", B), ("a3", A)]
    assert not await worker._take_over_all(found)
    assert tried == ["a1", "b1", "b2"]


def test_jobs_of_a_company_with_many_come_later() -> None:
    turns = TenantPriorities()
    assert [turns.get_priority(A) for _job in range(3)] == [0, -1, -2]
    assert turns.get_priority(B) == 0
