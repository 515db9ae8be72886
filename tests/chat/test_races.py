"""Two that act on one run at the same moment, each in a transaction of its own: one wins."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.utils import timezone

from chat.actions.runs.approvals import decide_call
from chat.actions.runs.manage import cancel_run, retry_run
from chat.actions.runs.tool_outputs import submit_tool_outputs
from chat.actions.send_message import create_message, delete_queued_message
from chat.actions.threads import delete_thread
from chat.models import Message, Process, Run, RunStep, ToolCall
from chat.runs.billing.metering import ModelCallUsage
from chat.runs.delivery.hub import LiveRun, hub
from chat.runs.endings import COMPLETED
from chat.runs.engine import loop
from chat.runs.state import recovery, transactions
from chat.runs.state.claims import ClaimLapsed
from chat.runs.state.turn import Turn
from chat.tools import registry
from chat.upstream.base import UsageReported
from tenants.errors import AtriumError
from tests.chat.saying import said
from tests.world import Company, World

ROUNDS = 3


def race(*moves: Callable[[], Any]) -> list[Any]:
    """Make these moves at once, and return what each returned or was refused with."""
    ready = threading.Barrier(len(moves))

    def make(move: Callable[[], Any]) -> Any:
        try:
            connection.ensure_connection()
            ready.wait(10)
            return move()
        except (AtriumError, ClaimLapsed) as refused:
            return refused
        finally:
            connection.close()

    with ThreadPoolExecutor(len(moves)) as pool:
        return list(pool.map(make, moves))


def winners(results: list[Any]) -> list[Any]:
    return [result for result in results if not isinstance(result, Exception)]


@pytest.fixture(params=range(ROUNDS))
def acme(world: World, request: pytest.FixtureRequest) -> Company:
    hub.channels.clear()
    return world.acme


def answering(company: Company) -> Turn:
    """Return a run that a living process has nearly answered."""
    run = said(company).run
    assert run is not None
    process = Process.objects.create()
    taken = recovery.take_over(run.tenant_id, run.pk, owner=process.pk)
    assert taken is not None
    assert taken.started is not None
    live = LiveRun(run.tenant_id, run.thread_id, run.pk, state=run.state)
    turn: Turn = async_to_sync(loop.begin)(taken.started, live)
    transactions.begin_round(turn, synced_through=None)
    turn.open_draft().pieces.append("The answer.")
    turn.unsaved_usage.append(ModelCallUsage(model="test-model", usage=UsageReported(3, 5)))
    return turn


def waiting(company: Company, *names: str, minutes: float = 10) -> tuple[Run, list[ToolCall]]:
    """Return a run that waits for these calls: a tool's approval, a program's `own` output."""
    run = said(company).run
    assert run is not None
    soon = timezone.now() + timedelta(minutes=minutes)
    with company.scope():
        Run.objects.filter(pk=run.pk).update(
            status="requires_action", token=1, rounds=1, expires_at=soon
        )
        step = RunStep.objects.create(run=run, index=0, type="tool_calls")
        calls = [
            ToolCall.objects.create(
                run=run,
                step=step,
                round=1,
                index=index,
                name=name,
                version=found.version if found else "",
                arguments_hash="h",
                status="waiting" if found else "awaiting_output",
                approval_expires_at=timezone.now() + timedelta(hours=1) if found else None,
            )
            for index, name in enumerate(names)
            for found in [registry.find(name)]
        ]
        run.refresh_from_db()
    return run, calls


def now(company: Company, run: Run) -> Run:
    with company.scope():
        found: Run = Run.objects.get(pk=run.pk)
        return found


def active(company: Company, run: Run) -> list[Run]:
    with company.scope():
        return list(Run.objects.active().filter(thread_id=run.thread_id))


def messages(company: Company, run: Run) -> list[tuple[str, str, int | None]]:
    with company.scope():
        found = Message.objects.filter(thread_id=run.thread_id).order_by("position")
        return [(m.role, m.status, m.position) for m in found]


def decide(company: Company, run: Run, call: ToolCall, decision: str) -> Callable[[], Run]:
    return partial(
        decide_call,
        company.principal("alice"),
        run.pk,
        call.pk,
        decision=decision,
        arguments_hash="h",
    )


def take_over(run: Run) -> Callable[[], Any]:
    return partial(recovery.take_over, run.tenant_id, run.pk, owner=None)


def test_create_and_create(acme: Company) -> None:
    thread = acme.threads["alice"].pk
    results = race(*[partial(said, acme, thread=thread, busy="reject")] * 2)
    assert len(winners(results)) == 1
    assert [e.code for e in results if isinstance(e, AtriumError)] == ["thread_busy"]


def test_the_same_message_from_two_sides_is_one(acme: Company) -> None:
    same = partial(
        create_message,
        acme.principal("alice"),
        acme.threads["alice"].pk,
        assistant_id=acme.assistant.pk,
        content="Hello",
        client_id="same",
    )
    first, second = race(same, same)
    assert first.message.pk == second.message.pk
    assert first.run.pk == second.run.pk


def test_cancel_and_complete(acme: Company) -> None:
    turn = answering(acme)
    cancel = partial(cancel_run, acme.principal("alice"), turn.run.pk)
    race(cancel, partial(transactions.finish, turn, COMPLETED))
    assert now(acme, turn.run).status == "completed"
    assert messages(acme, turn.run)[-1] == ("assistant", "completed", 2)


def test_complete_and_expire(acme: Company) -> None:
    turn = answering(acme)
    with acme.scope():
        past = timezone.now() - timedelta(seconds=1)
        Run.objects.filter(pk=turn.run.pk).update(expires_at=past)
    finished, expired = race(partial(transactions.finish, turn, COMPLETED), take_over(turn.run))
    assert isinstance(finished, ClaimLapsed) == (expired is not None)
    assert now(acme, turn.run).status == ("completed" if expired is None else "expired")


def test_complete_and_take_over(acme: Company) -> None:
    turn = answering(acme)
    with acme.scope():
        Process.objects.all().delete()
    run, other = turn.run, Process.objects.create().pk
    finished, taken = race(
        partial(transactions.finish, turn, COMPLETED),
        partial(recovery.take_over, run.tenant_id, run.pk, owner=other),
    )
    assert isinstance(finished, ClaimLapsed) == (taken is not None)
    assert now(acme, run).status == ("in_progress" if taken else "completed")


def test_two_processes_take_over(acme: Company) -> None:
    run = said(acme).run
    assert run is not None
    owners = [Process.objects.create().pk for _process in range(2)]
    taken = race(
        *[partial(recovery.take_over, run.tenant_id, run.pk, owner=owner) for owner in owners]
    )
    assert sum(item is not None for item in taken) == 1
    assert now(acme, run).token == 1


def test_approve_and_approve(acme: Company) -> None:
    run, [call] = waiting(acme, "cancel_order")
    results = race(*[decide(acme, run, call, "approve")] * 2)
    assert len(winners(results)) == 1
    assert (now(acme, run).status, now(acme, run).token) == ("queued", 2)


def test_approve_and_decline(acme: Company) -> None:
    run, [call] = waiting(acme, "cancel_order")
    approved, declined = race(
        decide(acme, run, call, "approve"), decide(acme, run, call, "decline")
    )
    with acme.scope():
        call.refresh_from_db()
    assert call.status == ("declined" if isinstance(approved, Exception) else "approved")
    assert isinstance(approved, Exception) != isinstance(declined, Exception)


def test_two_approvals_of_two_calls(acme: Company) -> None:
    run, calls = waiting(acme, "cancel_order", "cancel_order")
    results = race(*[decide(acme, run, call, "approve") for call in calls])
    assert len(winners(results)) == 2
    assert (now(acme, run).status, now(acme, run).token) == ("queued", 2)


def test_approve_and_expire(acme: Company) -> None:
    run, [call] = waiting(acme, "cancel_order", minutes=-1)
    approved, expired = race(decide(acme, run, call, "approve"), take_over(run))
    assert isinstance(approved, Exception) == (expired is not None)
    assert now(acme, run).status == ("queued" if expired is None else "expired")


def test_approve_and_cancel(acme: Company) -> None:
    run, [call] = waiting(acme, "cancel_order")
    race(
        decide(acme, run, call, "approve"),
        partial(cancel_run, acme.principal("alice"), run.pk),
    )
    with acme.scope():
        call.refresh_from_db()
    assert (now(acme, run).status, call.status) == ("cancelled", "cancelled")


def test_submit_and_expire(acme: Company) -> None:
    run, [call] = waiting(acme, "own", minutes=-1)
    submit = partial(submit_tool_outputs, acme.principal("alice"), run.pk, {call.pk: "done"})
    submitted, expired = race(submit, take_over(run))
    with acme.scope():
        call.refresh_from_db()
    # A run that went on past its deadline expires by the next look.
    assert isinstance(submitted, Exception) == (call.status == "cancelled")
    assert now(acme, run).status in ("queued", "expired")
    assert isinstance(submitted, Exception) <= (expired is not None)


def test_submit_and_submit(acme: Company) -> None:
    run, [call] = waiting(acme, "own")
    submits = [
        partial(submit_tool_outputs, acme.principal("alice"), run.pk, {call.pk: text})
        for text in ("one", "two")
    ]
    assert len(winners(race(*submits))) == 1
    assert now(acme, run).token == 2


def test_delete_and_complete(acme: Company) -> None:
    turn = answering(acme)
    delete = partial(delete_thread, acme.principal("alice"), turn.run.thread_id)
    race(delete, partial(transactions.finish, turn, COMPLETED))
    assert now(acme, turn.run).status == "completed"
    assert messages(acme, turn.run)[-1] == ("assistant", "completed", 2)


def test_queue_and_complete(acme: Company) -> None:
    turn = answering(acme)
    queue = partial(said, acme, thread=turn.run.thread_id, busy="queue")
    race(queue, partial(transactions.finish, turn, COMPLETED))
    assert [at for _role, _status, at in messages(acme, turn.run)] == [1, 2, 3]
    [following] = active(acme, turn.run)
    assert following.through_position == 3


def test_interrupt_and_complete(acme: Company) -> None:
    turn = answering(acme)
    interrupt = partial(said, acme, thread=turn.run.thread_id, busy="interrupt")
    race(interrupt, partial(transactions.finish, turn, COMPLETED))
    assert [at for _role, _status, at in messages(acme, turn.run)] == [1, 2, 3]
    [following] = active(acme, turn.run)
    assert following.pk != turn.run.pk


def test_withdraw_and_complete(acme: Company) -> None:
    turn = answering(acme)
    waits = said(acme, thread=turn.run.thread_id).message
    withdrawn, _finished = race(
        partial(delete_queued_message, acme.principal("alice"), waits.pk),
        partial(transactions.finish, turn, COMPLETED),
    )
    assert len(active(acme, turn.run)) == isinstance(withdrawn, Exception)


def test_write_on_and_approve(acme: Company) -> None:
    run, [call] = waiting(acme, "cancel_order")
    sent, approved = race(
        partial(said, acme, thread=run.thread_id, busy="queue"), decide(acme, run, call, "approve")
    )
    with acme.scope():
        call.refresh_from_db()
    assert not isinstance(approved, Exception)
    assert sent.run is None
    assert (call.status, now(acme, run).token) == ("approved", 2)


def test_retry_and_retry(acme: Company) -> None:
    run = said(acme).run
    assert run is not None
    cancel_run(acme.principal("alice"), run.pk)
    results = race(*[partial(retry_run, acme.principal("alice"), run.thread_id)] * 2)
    assert len(winners(results)) == len(active(acme, run)) == 1
