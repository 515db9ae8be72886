"""Stopping an answer in every state it can be in: in time, for good, and with the reason given."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection

from chat.actions.runs.manage import cancel_run, request_cancel
from chat.actions.send_message import CreatedMessage
from chat.errors import RunFinished
from chat.models import Run, RunStatus, Thread
from chat.runs.endings import EXPIRED, INTERRUPTED
from chat.runs.engine.worker import Worker, worker
from chat.runs.state import recovery, transactions
from chat.runs.state.lifecycle import advance
from chat.tools.base import Effect, Tool, ToolContext
from chat.tools.registry import TOOLS, make_tool
from tenants.db import in_db
from tests import clock
from tests.chat.at_work import assistant_on, idle, say, stored, working
from tests.chat.saying import unclaimed_run
from tests.chat.test_run_tools import calling
from tests.clock import pass_time, time_limit
from tests.upstream.script import Answer
from tests.upstream.server import ScriptedServer
from tests.world import Company, World

WORDS = ("One ", "two ", "three ", "four ")


async def cancelled(company: Company, sent: CreatedMessage, *, within: float) -> None:
    """Stop the run and wait for its end."""
    assert sent.run is not None
    with time_limit(within):
        await in_db(cancel_run, company.principal("alice"), sent.run.pk)
        await idle()


async def asked(upstream: ScriptedServer) -> None:
    """Wait until the model server has the request."""
    await asyncio.to_thread(upstream.wait_for_requests)


async def left(upstream: ScriptedServer) -> bool:
    """Tell whether the connection to the model server was closed."""
    return await asyncio.to_thread(upstream.was_left)


@pytest.mark.parametrize("format_", ["responses", "chat"])
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Answer(stall=True), None),
        (Answer(say=WORDS * 1000, pace=0.02), "One "),
        (Answer(say=WORDS, stall_after=2), "One two "),
    ],
    ids=["before the first byte", "streaming", "hung in the stream"],
)
async def test_stopped_at_the_model_server(
    world: World,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    answer: Answer,
    text: str | None,
    format_: str,
) -> None:
    upstream_server.expect(answer)
    async with working(monkeypatch, upstream_server) as told:
        sent = await say(world.acme, assistant=await assistant_on(world.acme, format_))
        await asked(upstream_server)
        await told.until_said(text or "")
        await cancelled(world.acme, sent, within=2)
        assert await left(upstream_server)
    assert sent.run is not None
    one = await stored(world.acme, sent.run.pk)
    assert (one.run.status, one.run.reason) == ("cancelled", "stopped")
    assert told.of(one.run.pk)[-1] == "thread.run.cancelled"
    assert [status for status, _text in one.answers] == ["incomplete"] * (text is not None)
    assert "".join(words for _status, words in one.answers).startswith(text or "")


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[threading.Event, threading.Event]]:
    """Register the tool `hang`; one event says that it began, the other lets it return."""

    def registered(*, is_async: bool) -> tuple[threading.Event, threading.Event]:
        began, never = threading.Event(), threading.Event()

        def hang(ctx: ToolContext) -> str:
            """Hang."""
            began.set()
            never.wait(2 * clock.WAIT_SECONDS)
            return "late"

        async def hang_async(ctx: ToolContext) -> str:
            """Hang."""
            began.set()
            await asyncio.Event().wait()
            return "never"

        function = hang_async if is_async else hang
        function.__name__ = "hang"
        made: Tool = make_tool(function, effect=Effect.WRITE_ONCE)
        monkeypatch.setitem(TOOLS, "hang", made)
        return began, never

    return registered


@pytest.mark.parametrize(("is_async", "outcome"), [(True, "outcome_unknown"), (False, "cancelled")])
async def test_stopped_in_a_hung_tool(
    world: World,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    hung: Callable[..., tuple[threading.Event, threading.Event]],
    is_async: bool,
    outcome: str,
) -> None:
    began, never = hung(is_async=is_async)
    upstream_server.expect(calling("hang", "{}"))
    async with working(monkeypatch, upstream_server, TOOL_SECONDS=2 * clock.WAIT_SECONDS):
        assistant = await assistant_on(world.acme, "responses", tools=tools("hang"))
        sent = await say(world.acme, assistant=assistant)
        assert await asyncio.to_thread(began.wait, clock.WAIT_SECONDS)
        await cancelled(world.acme, sent, within=5)
        never.set()
    assert sent.run is not None
    one = await stored(world.acme, sent.run.pk)
    assert (one.run.status, one.calls[0].status) == ("cancelled", outcome)
    assert one.steps[0].status == "cancelled"


def tools(*names: str) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": name}} for name in names]


async def waiting(world: World, upstream: ScriptedServer) -> CreatedMessage:
    """Ask for something that needs an approval, and wait until it is asked for."""
    upstream.expect(calling("cancel_order"))
    assistant = await assistant_on(world.acme, "responses", tools=tools("cancel_order"))
    return await say(world.acme, assistant=assistant)


async def test_stopped_while_it_waits_for_an_approval(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(monkeypatch, upstream_server):
        sent = await waiting(world, upstream_server)
        await idle()
        await cancelled(world.acme, sent, within=2)
    assert sent.run is not None
    one = await stored(world.acme, sent.run.pk)
    assert (one.run.status, one.calls[0].status) == ("cancelled", "cancelled")


def test_stopped_before_any_process_has_it(world: World) -> None:
    sent = unclaimed_run(world.acme)
    stopped = cancel_run(world.acme.principal("alice"), sent.pk)
    assert (stopped.status, stopped.reason) == ("cancelled", "stopped")
    with pytest.raises(RunFinished):
        cancel_run(world.acme.principal("alice"), sent.pk)


def test_stopped_while_its_process_is_dead_it_ends_with_the_reason_given(world: World) -> None:
    run = unclaimed_run(world.acme)
    with world.acme.scope():
        Run.objects.filter(pk=run.pk).update(owner=uuid4(), token=1, status="in_progress")
        run.refresh_from_db()
        Thread.objects.locked().get(pk=run.thread_id)
        request_cancel(run, INTERRUPTED)
    recovery.take_over(run.tenant_id, run.pk, owner=uuid4())
    with world.acme.scope():
        run.refresh_from_db()
    assert (run.status, run.reason) == ("cancelled", "interrupted")


async def test_a_stop_in_another_process_is_found_in_the_row_with_its_reason(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Worker, "end_run", lambda *_args, **_more: None)
    upstream_server.expect(say=WORDS, stall_after=2)
    async with working(monkeypatch, upstream_server, WATCH_SECONDS=0.1) as told:
        sent = await say(world.acme, assistant=await assistant_on(world.acme, "responses"))
        await told.until("text")
        await say(world.acme, thread=sent.thread.pk, busy="interrupt")
        assert await left(upstream_server)
        await idle()
    assert sent.run is not None
    one = await stored(world.acme, sent.run.pk)
    assert (one.run.status, one.run.reason) == ("cancelled", "interrupted")


@pytest.mark.parametrize("before", ["in_progress", "requires_action"])
async def test_a_stop_just_before_a_write_of_its_process_ends_it(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    stopped: list[Run] = []

    def stop() -> None:
        try:
            with world.acme.scope():
                run_id = Run.objects.active().get().pk
            stopped.append(cancel_run(world.acme.principal("alice"), run_id))
        finally:
            connection.close()

    def stop_first(run_id: str, to: RunStatus, **fields: Any) -> bool:
        if to == before:
            with ThreadPoolExecutor(1) as elsewhere:
                elsewhere.submit(stop).result()
        return advance(run_id, to, **fields)

    monkeypatch.setattr(transactions, "advance", stop_first)
    # Its task hears of it only after its own write was refused.
    monkeypatch.setattr(Worker, "end_run", lambda *_args, **_more: None)
    async with working(monkeypatch, upstream_server) as told:
        begun = say(world.acme) if before == "in_progress" else waiting(world, upstream_server)
        sent = await begun
        await idle()
    assert sent.run is not None
    one = await stored(world.acme, sent.run.pk)
    assert (stopped[0].status, one.run.status) == ("cancelling", "cancelled")
    assert told.of(sent.run.pk)[-1] == "thread.run.cancelled"


async def test_a_deadline_at_the_moment_it_begins_to_wait_leaves_it_waiting(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = transactions.require_action

    def at_the_deadline(turn: Any, calls: Any) -> None:
        worker.end_run(turn.run.pk, EXPIRED)
        real(turn, calls)

    monkeypatch.setattr(transactions, "require_action", at_the_deadline)
    async with working(monkeypatch, upstream_server) as told:
        sent = await waiting(world, upstream_server)
        assert sent.run is not None
        await idle()
    one = await stored(world.acme, sent.run.pk)
    assert one.run.status == "requires_action"
    assert told.of(sent.run.pk)[-1] == "thread.run.requires_action"


async def test_an_answer_at_its_deadline_expires_with_its_words(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream_server.expect(say=WORDS, stall_after=2)
    async with working(monkeypatch, upstream_server, RUN_SECONDS=60) as told:
        sent = await say(world.acme, assistant=await assistant_on(world.acme, "responses"))
        await told.until_said("One two ")
        pass_time(60)
        await idle()
        assert await left(upstream_server)
    assert sent.run is not None
    one = await stored(world.acme, sent.run.pk)
    assert (one.run.status, one.run.reason) == ("expired", "deadline")
    assert one.answers == [("incomplete", "One two ")]
    assert one.messages[-1].incomplete_reason == "run_expired"
    assert told.of(one.run.pk)[-1] == "thread.run.expired"
