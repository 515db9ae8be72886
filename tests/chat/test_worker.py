"""The worker of this process: no run is lost where its end cannot be written, none begun twice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from chat.models import Process, Run, RunStep, Thread, ToolCall
from chat.runs.delivery.hub import hub
from chat.runs.endings import CANCELLED
from chat.runs.engine import loop
from chat.runs.engine.worker import RunTask, Worker
from chat.runs.state import recovery
from chat.runs.state.claims import Claim
from chat.runs.state.turn import ClaimedRun
from tenants.db import in_db
from tests.chat.saying import said, unclaimed_run
from tests.clock import WAIT_SECONDS, until
from tests.world import Company, World


@pytest.fixture(autouse=True)
def empty_hub() -> Iterator[None]:
    hub.channels.clear()
    yield
    hub.channels.clear()


@pytest.fixture
def run(world: World) -> Run:
    """A run that nobody has claimed."""
    return unclaimed_run(world.acme)


def stored(company: Company, run: Run) -> Run:
    with company.scope():
        found: Run = Run.objects.get(pk=run.pk)
        return found


def change(company: Company, run: Run, **fields: object) -> None:
    with company.scope():
        Run.objects.filter(pk=run.pk).update(**fields)


def claim(run: Run, owner: UUID) -> recovery.TakeoverResult:
    """Claim `run` for a living process."""
    Process.objects.get_or_create(id=owner)
    taken = recovery.take_over(run.tenant_id, run.pk, owner=owner)
    assert taken is not None
    return taken


async def test_a_run_that_cannot_be_concluded_is_given_back(
    world: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: object) -> None:
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(loop, "begin", fail)
    worker = Worker()
    taken = await in_db(claim, run, worker.process_id)
    assert taken.started is not None
    worker._begin(taken.started)
    await worker.wait_until_finished(run.pk)
    assert (await in_db(stored, world.acme, run)).owner is None
    assert worker.runs == {}


async def test_what_could_not_be_given_back_is_at_the_next_look(
    world: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: object) -> None:
        raise OperationalError("the server closed the connection")

    def fail_too(claim: object) -> None:
        raise OperationalError("it is still away")

    monkeypatch.setattr(loop, "begin", fail)
    worker = Worker()
    taken = await in_db(claim, run, worker.process_id)
    assert taken.started is not None
    with monkeypatch.context() as away:
        away.setattr(recovery, "release", fail_too)
        worker._begin(taken.started)
        await worker.wait_until_finished(run.pk)
    assert (await in_db(stored, world.acme, run)).owner == worker.process_id
    worker.draining = True  # takes nothing over, so that what was given back shows
    await worker.recover()
    assert (await in_db(stored, world.acme, run)).owner is None


async def test_a_run_stopped_before_its_first_step_ends(world: World, run: Run) -> None:
    worker = Worker()
    taken = await in_db(claim, run, worker.process_id)
    assert taken.started is not None
    worker._begin(taken.started)
    worker._end(run.pk, CANCELLED)
    await asyncio.wait_for(worker.wait_until_finished(run.pk), WAIT_SECONDS)
    assert (await in_db(stored, world.acme, run)).status == "cancelled"
    assert worker.runs == {}


async def test_a_run_stopped_before_its_first_step_waits_for_a_lock(
    world: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, tries = recovery._lock_run, list[str]()
    held, free = asyncio.Event(), threading.Event()
    loop_here = asyncio.get_running_loop()

    def hold() -> None:
        with world.acme.scope():
            Thread.objects.locked().get(pk=run.thread_id)
            loop_here.call_soon_threadsafe(held.set)
            assert free.wait(WAIT_SECONDS)

    def locked_at_once(run_id: str) -> Run | None:
        tries.append(run_id)
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '20ms'")
        return locked(run_id)

    worker = Worker()
    taken = await in_db(claim, run, worker.process_id)
    assert taken.started is not None
    holding = asyncio.create_task(in_db(hold))
    await asyncio.wait_for(held.wait(), WAIT_SECONDS)
    monkeypatch.setattr(recovery, "_lock_run", locked_at_once)
    worker._begin(taken.started)
    worker._end(run.pk, CANCELLED)
    await until(lambda: len(tries) > 1 or not worker.runs)
    free.set()
    await holding
    await asyncio.wait_for(worker.wait_until_finished(run.pk), WAIT_SECONDS)
    ended = await in_db(stored, world.acme, run)
    assert (ended.status, ended.takeovers) == ("cancelled", 0)


async def test_the_first_claim_tells_readers_of_message_and_run(world: World, run: Run) -> None:
    reader = hub.subscribe(run.tenant_id, run.thread_id)
    worker = Worker()
    taken = await in_db(claim, run, worker.process_id)
    assert taken.started is not None
    worker._begin(taken.started)
    worker._end(run.pk, CANCELLED)
    await worker.wait_until_finished(run.pk)
    events = [entry.event for entry in await reader.entries()]
    assert events == [
        "thread.message.created",
        "thread.run.created",
        "thread.run.queued",
        "thread.run.cancelled",
    ]


def test_the_first_claim_is_no_take_over(world: World, run: Run) -> None:
    claim(run, uuid4())
    assert stored(world.acme, run).takeovers == 0


def test_a_full_or_draining_process_leaves_a_run_to_others(world: World, run: Run) -> None:
    assert recovery.take_over(run.tenant_id, run.pk, owner=None) is None
    assert stored(world.acme, run).status == "queued"


def test_a_full_process_still_ends_what_is_overdue(world: World, run: Run) -> None:
    change(world.acme, run, expires_at=timezone.now() - timedelta(seconds=1))
    taken = recovery.take_over(run.tenant_id, run.pk, owner=None)
    assert taken is not None
    assert stored(world.acme, run).status == "expired"


def test_a_run_that_nobody_ended_in_time_makes_room(world: World, run: Run) -> None:
    change(world.acme, run, expires_at=timezone.now() - timedelta(seconds=16))
    sent = said(world.acme, "Is anybody there?", thread=run.thread_id, busy="reject")
    assert sent.run is not None
    assert stored(world.acme, run).status == "expired"


def test_a_run_that_was_given_back_counts_no_death(world: World, run: Run) -> None:
    given_back = claim(run, uuid4()).started
    assert given_back is not None
    recovery.release(given_back.claim, failed=False)
    claim(run, uuid4())
    assert stored(world.acme, run).takeovers == 0


def test_a_run_that_was_given_back_wakes_a_process(world: World, run: Run) -> None:
    given_back = claim(run, uuid4()).started
    assert given_back is not None
    ProcrastinateJob.objects.all().delete()
    recovery.release(given_back.claim, failed=False)
    assert [job.args["run_id"] for job in ProcrastinateJob.objects.all()] == [run.pk]


def test_a_queued_message_that_nobody_can_claim_wakes_a_process(world: World, run: Run) -> None:
    waiting = said(world.acme, "And then?", thread=run.thread_id, busy="queue")
    ProcrastinateJob.objects.all().delete()
    change(world.acme, run, expires_at=timezone.now() - timedelta(seconds=1))
    recovery.take_over(run.tenant_id, run.pk, owner=None)
    with world.acme.scope():
        started = Run.objects.active().get(thread_id=waiting.thread.pk)
    assert [job.args["run_id"] for job in ProcrastinateJob.objects.all()] == [started.pk]


def test_a_run_that_fails_its_process_counts_as_one(world: World, run: Run) -> None:
    given_back = claim(run, uuid4()).started
    assert given_back is not None
    recovery.release(given_back.claim, failed=True)
    assert stored(world.acme, run).takeovers == 1


async def test_a_late_heartbeat_costs_a_process_none_of_its_own_runs(
    world: World, run: Run
) -> None:
    worker = Worker()
    await in_db(claim, run, worker.process_id)
    taken = await in_db(stored, world.acme, run)
    worker.runs[run.pk] = RunTask(
        started=ClaimedRun(claim=Claim.of(taken), thread_id="", state=0, seconds_left=1)
    )
    await in_db(Process.objects.all().delete)
    assert not await worker.take_over(run.tenant_id, run.pk)
    assert (await in_db(stored, world.acme, run)).token == taken.token


def test_only_the_claims_of_the_named_process_are_freed(world: World, run: Run) -> None:
    dead, living = uuid4(), uuid4()
    claim(run, dead)
    other = unclaimed_run(world.acme)
    claim(other, living)
    before = recovery.list_lapsed_runs()
    recovery.free_claims([dead])
    assert (before, recovery.list_lapsed_runs()) == ([], [(run.pk, run.tenant_id)])
    assert recovery.take_over(other.tenant_id, other.pk, owner=uuid4()) is None
    claim(run, uuid4())
    assert stored(world.acme, run).token == 2


def test_a_suspect_waits_while_another_is_on_trial(world: World, run: Run) -> None:
    change(world.acme, run, owner=uuid4(), token=2, takeovers=1)
    assert recovery.take_over(run.tenant_id, run.pk, owner=uuid4(), suspects=False) is None
    taken = recovery.take_over(run.tenant_id, run.pk, owner=uuid4())
    assert taken is not None
    assert taken.suspect


def test_a_process_that_lost_a_run_does_not_end_it(world: World, run: Run) -> None:
    lost = claim(run, uuid4()).started
    assert lost is not None
    change(world.acme, run, owner=uuid4(), token=2)
    assert recovery.end_unloaded(lost.claim, CANCELLED) is None
    assert stored(world.acme, run).status == "queued"


def leave_calls(company: Company, run: Run) -> None:
    """Leave what a process leaves that dies while one call runs and another waits for approval."""
    with company.scope():
        step = RunStep.objects.create(run=run, index=0, type="tool_calls")
        for index, status in enumerate(("completed", "waiting")):
            ToolCall.objects.create(
                run=run,
                step=step,
                round=1,
                index=index,
                name="cancel_order",
                status=status,
                approval_expires_at=timezone.now() + timedelta(hours=1),
            )


async def test_a_call_that_waits_outlives_the_process_that_asked(world: World, run: Run) -> None:
    await in_db(claim, run, uuid4())
    await in_db(leave_calls, world.acme, run)
    await in_db(change, world.acme, run, status="in_progress", rounds=1, owner=None)
    worker = Worker()
    taken = await in_db(claim, run, worker.process_id)
    assert taken.started is not None
    worker._begin(taken.started)
    await asyncio.wait_for(worker.wait_until_finished(run.pk), WAIT_SECONDS)
    assert (await in_db(stored, world.acme, run)).status == "requires_action"
