"""Answers that are stopped, cut or taken over are metered: by an estimate, marked as one."""

from __future__ import annotations

import asyncio
import csv
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.utils import quote
from django.db import OperationalError
from django.utils import timezone

from chat import wire
from chat.actions.runs.manage import cancel_run
from chat.actions.send_message import CreatedMessage
from chat.models import Process, Run, Usage
from chat.runs.engine import model_step as answering
from chat.runs.engine.worker import worker
from chat.runs.state import recovery
from tenants.db import in_db
from tests.chat.at_work import (
    BACKENDS,
    Stored,
    Told,
    assistant_on,
    idle,
    say,
    stored,
    working,
)
from tests.clock import WAIT_SECONDS, pass_time
from tests.upstream.script import Answer, Call
from tests.upstream.server import ScriptedServer
from tests.world import Company, World

# 25 tokens at four bytes each.
TEXT = "x" * 100
HELD = Answer(say=(TEXT, "the rest"), held_after=1)
OK = Answer(say=("All ", "is ", "well."))


async def started(
    world: World, upstream: ScriptedServer, told: Told, *answers: Answer, format_: str = "responses"
) -> CreatedMessage:
    """Ask for an answer, and return when its first text is there."""
    for answer in answers:
        upstream.expect(answer)
    sent = await say(world.acme, assistant=await assistant_on(world.acme, format_))
    await told.until_said(TEXT)
    return sent


async def run_of(world: World, sent: CreatedMessage) -> Stored:
    assert sent.run is not None
    return await stored(world.acme, sent.run.pk)


def check_estimate(one: Stored, outcome: str, *, written: int = 25) -> None:
    """Check that one call with this outcome was estimated, and that it counts for the run."""
    prompt, text = one.spent(outcome)
    assert one.attempts(outcome) == 1
    assert {row.estimated for row in one.usage if row.outcome == outcome} == {True}
    # "Hello" in its frame, without instructions and tools.
    assert (prompt, text) == (7, written)
    counted = [row for row in one.usage if row.outcome != "failed"]
    kinds = {"input_tokens": one.run.prompt_tokens, "output_tokens": one.run.completion_tokens}
    for kind, total in kinds.items():
        assert sum(row.quantity for row in counted if row.kind == kind) == total
    assert one.run.usage_estimated
    assert wire.run_object(one.run)["atrium"]["usage_estimated"]


@pytest.mark.parametrize("format_", BACKENDS)
async def test_a_stopped_answer(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    async with working(monkeypatch, upstream_server) as told:
        sent = await started(world, upstream_server, told, HELD, format_=format_)
        assert sent.run is not None
        await in_db(cancel_run, world.acme.principal("alice"), sent.run.pk)
        await idle()
    one = await run_of(world, sent)
    check_estimate(one, "cancelled")
    assert wire.run_object(one.run)["usage"]["total_tokens"] == 32
    assert (one.steps[0].prompt_tokens, one.steps[0].completion_tokens) == (7, 25)


async def test_an_answer_that_is_stopped_before_its_first_word(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream_server.expect(Answer(stall=True))
    async with working(monkeypatch, upstream_server):
        sent = await say(world.acme, assistant=await assistant_on(world.acme, "responses"))
        await asyncio.to_thread(upstream_server.wait_for_requests)
        assert sent.run is not None
        await in_db(cancel_run, world.acme.principal("alice"), sent.run.pk)
        await idle()
    check_estimate(await run_of(world, sent), "cancelled", written=0)


async def test_an_answer_that_runs_out_of_time(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(monkeypatch, upstream_server, RUN_SECONDS=50) as told:
        sent = await started(world, upstream_server, told, HELD)
        pass_time(60)
        await idle()
    check_estimate(await run_of(world, sent), "expired")


async def test_an_answer_that_another_process_continues(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(monkeypatch, upstream_server) as told:
        sent = await started(world, upstream_server, told, HELD)
    check_estimate(await run_of(world, sent), "taken_over")
    upstream_server.expect(OK)
    async with working(monkeypatch, upstream_server):
        assert sent.run is not None
        await worker.take_over(world.acme.tenant.pk, sent.run.pk)
        await idle()
    one = await run_of(world, sent)
    check_estimate(one, "taken_over")
    assert (one.run.status, one.spent("used")) == ("completed", [11, 7])


async def test_an_answer_that_loses_its_database_in_the_middle(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(answering, "write_text", fail)
    upstream_server.expect(HELD)
    async with working(monkeypatch, upstream_server):
        sent = await say(world.acme, assistant=await assistant_on(world.acme, "responses"))
        await idle()
    one = await run_of(world, sent)
    assert one.run.owner is None
    check_estimate(one, "taken_over")


def die(company: Company, sent: CreatedMessage) -> None:
    """Let the process that executes the run be dead."""
    assert sent.run is not None
    with company.scope():
        Run.objects.filter(pk=sent.run.pk).update(owner=uuid4())


@pytest.mark.parametrize(("partial_seconds", "written"), [(0.05, 25), (3600.0, 0)])
async def test_an_answer_whose_process_died(
    world: World,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    partial_seconds: float,
    written: int,
) -> None:
    async with working(monkeypatch, upstream_server, PARTIAL_SECONDS=partial_seconds) as told:
        sent = await started(world, upstream_server, told, HELD)
        assert sent.run is not None
        if written:
            await until_stored(world, sent)
        await in_db(die, world.acme, sent)
        upstream_server.expect(OK)
        lapsed, worker.runs = worker.runs, {}
        await worker.take_over(world.acme.tenant.pk, sent.run.pk)
        await idle()
        # What the dead process would still write changes nothing.
        upstream_server.go_on()
        await asyncio.wait({run.task for run in lapsed.values() if run.task})
    one = await run_of(world, sent)
    check_estimate(one, "taken_over", written=written)
    assert (one.run.status, one.spent("used")) == ("completed", [11, 7])
    assert one.run.completion_tokens == written + 7


async def until_stored(world: World, sent: CreatedMessage) -> None:
    """Wait until the partial text is stored."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            if (await run_of(world, sent)).answers:
                return
            await asyncio.sleep(0.01)


async def test_an_answer_that_ends_because_its_process_died(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lapse() -> None:
        die(world.acme, sent)
        with world.acme.scope():
            Run.objects.update(expires_at=timezone.now())
        assert sent.run is not None
        recovery.take_over(world.acme.tenant.pk, sent.run.pk, owner=None)

    async with working(monkeypatch, upstream_server, PARTIAL_SECONDS=0.05) as told:
        sent = await started(world, upstream_server, told, HELD)
        await until_stored(world, sent)
        await in_db(lapse)
        upstream_server.go_on()
        await idle()
    one = await run_of(world, sent)
    assert one.run.status == "expired"
    check_estimate(one, "expired")


async def test_a_call_that_was_over_is_not_estimated(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies while tools run has its call metered already."""
    calls = (Call(name="cancel_order", arguments='{"order_number": 1042}'),)
    upstream_server.expect(Answer(calls=calls))
    tools = [{"type": "function", "function": {"name": "cancel_order"}}]

    def die_in_the_tool() -> None:
        die(world.acme, sent)
        with world.acme.scope():
            Run.objects.filter(pk=sent.run.pk).update(status="in_progress")  # type: ignore[union-attr]
            Process.objects.filter(pk=uuid4()).delete()
        recovery.take_over(world.acme.tenant.pk, sent.run.pk, owner=uuid4())  # type: ignore[union-attr]

    async with working(monkeypatch, upstream_server):
        assistant = await assistant_on(world.acme, "responses", tools=tools)
        sent = await say(world.acme, assistant=assistant)
        await idle()
        await in_db(die_in_the_tool)
    one = await run_of(world, sent)
    assert one.attempts("taken_over") == 0
    assert [one.run.prompt_tokens, one.run.completion_tokens] == one.spent("used") == [11, 7]


async def test_a_stream_that_breaks_off(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream_server.expect(Answer(say=(TEXT,), final=False))
    upstream_server.expect(OK)
    async with working(monkeypatch, upstream_server):
        sent = await say(world.acme, assistant=await assistant_on(world.acme, "responses"))
        await idle()
    one = await run_of(world, sent)
    assert (one.spent("failed"), one.spent("used")) == ([7, 25], [11, 7])
    assert [row.estimated for row in one.usage if row.outcome == "failed"] == [True, True]
    # Failed attempts are kept apart.
    assert [one.run.prompt_tokens, one.run.completion_tokens] == [11, 7]
    assert not one.run.usage_estimated


@pytest.mark.parametrize("format_", BACKENDS)
async def test_a_server_that_reports_nothing(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    upstream_server.expect(Answer(say=(TEXT,), usage=None))
    async with working(monkeypatch, upstream_server):
        sent = await say(world.acme, assistant=await assistant_on(world.acme, format_))
        await idle()
    one = await run_of(world, sent)
    check_estimate(one, "used")
    assert one.run.status == "completed"


async def test_what_a_server_reports_of_a_failure_is_no_estimate(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = (
        '{"type": "response.failed", "response": {"status": "failed", "error": {"code": '
        '"invalid_prompt", "message": "m"}, "usage": {"input_tokens": 40, "output_tokens": 2}}}'
    )
    upstream_server.expect(Answer(malformed=f"data: {failed}\n\n"))
    async with working(monkeypatch, upstream_server):
        sent = await say(world.acme, assistant=await assistant_on(world.acme, "responses"))
        await idle()
    one = await run_of(world, sent)
    assert one.spent("failed") == [40, 2]
    assert {row.estimated for row in one.usage} == {False}


async def test_what_a_server_reports_with_each_piece_counts_when_it_is_cut(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = f'{{"index": 0, "delta": {{"content": "{TEXT}"}}, "finish_reason": null}}'
    usage = '{"prompt_tokens": 40, "completion_tokens": 30}'
    piece = f'data: {{"choices": [{choice}], "usage": {usage}}}\n\n'
    upstream_server.expect(Answer(malformed=piece))
    upstream_server.expect(OK)
    async with working(monkeypatch, upstream_server):
        sent = await say(world.acme, assistant=await assistant_on(world.acme, "chat"))
        await idle()
    one = await run_of(world, sent)
    assert one.spent("failed") == [40, 30]
    assert {row.estimated for row in one.usage} == {False}


async def test_the_prompt_is_estimated_as_it_was_built(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = [{"type": "function", "function": {"name": "get_order"}}]
    upstream_server.expect(Answer(say=(TEXT,), usage=None))
    async with working(monkeypatch, upstream_server):
        assistant = await assistant_on(world.acme, "responses", instructions="i" * 400, tools=tools)
        sent = await say(world.acme, assistant=assistant)
        await idle()
    one = await run_of(world, sent)
    assert one.run.prompt_tokens > 7 + 100 + 20


def test_admins_see_what_is_estimated(world: World) -> None:
    company, run = world.acme, world.acme.runs["alice"]
    fields: dict[str, Any] = {"member": company.alice, "run": run, "unit": "token"}
    with company.scope():
        Usage.objects.all().delete()
        for number, estimated in ((5, True), (6, False)):
            Usage.objects.create(
                **fields,
                call=f"up_{number}",
                model="m",
                kind="output_tokens",
                quantity=number,
                outcome="cancelled" if estimated else "used",
                estimated=estimated,
            )
        Run.objects.filter(pk=run.pk).update(usage_estimated=True, completion_tokens=11)
    admin = company.client("adam")
    page = admin.get("/admin/chat/usage/").content.decode()
    assert "stopped, estimated" in page
    assert "5 of them estimated" in page
    trace = admin.get(f"/admin/chat/run/{quote(run.pk)}/change/").content.decode()
    assert "stopped, estimated" in trace
    assert "0 / 11, estimated" in trace
    exported = admin.get("/admin/chat/usage/export/").content.decode()
    head, *lines = csv.reader(StringIO(exported))
    found = [dict(zip(head, line, strict=True)) for line in lines]
    assert [(row["outcome"], row["estimated"], row["quantity"]) for row in found] == [
        ("cancelled", "yes", "5"),
        ("used", "no", "6"),
    ]
