"""Every reason for which a run ends: how it comes about, and what people and programs are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from chat import wire
from chat.actions.runs.create import create_thread_and_run
from chat.actions.runs.manage import cancel_run
from chat.actions.threads import delete_thread
from chat.models import Assistant, Run, TenantPolicy
from chat.models.reasons import Reason
from chat.runs.billing import tenant_policy_cache
from chat.runs.engine.worker import worker
from chat.runs.state import recovery, transactions
from tenants.actions import disable_member
from tenants.db import in_db
from tests.chat.at_work import (
    PATIENCE,
    Told,
    assistant_on,
    idle,
    lose_patience,
    say,
    stored,
    working,
)
from tests.clock import pass_time
from tests.upstream.script import Answer, Call
from tests.upstream.server import ScriptedServer
from tests.world import Company, World

LONG = Answer(say=("word ",) * 5000, pace=0.02)
STALL = Answer(stall=True)
# A run's time that is over before anybody loses patience.
SHORT = PATIENCE / 2
TOOLS = [{"type": "function", "function": {"name": name}} for name in ("get_order", "cancel_order")]


def calling(name: str = "get_order", number: int = 1) -> Answer:
    return Answer(calls=(Call(name=name, arguments=f'{{"order_number": {number}}}'),))


def failing(code: str, status: int = 400) -> Answer:
    return Answer(status=status, body=f'{{"error": {{"code": "{code}", "message": "m"}}}}')


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run under way, and what is done to it."""

    world: World
    run: Run
    told: Told
    upstream: ScriptedServer

    @property
    def acme(self) -> Company:
        return self.world.acme


Act = Callable[[Case], Awaitable[Any]]


async def stop(case: Case) -> None:
    await case.told.until("text")
    await in_db(cancel_run, case.acme.principal("alice"), case.run.pk)


async def interrupt(case: Case) -> None:
    await case.told.until("text")
    await say(case.acme, thread=case.run.thread_id, busy="interrupt")


async def delete(case: Case) -> None:
    await case.told.until("text")
    await in_db(delete_thread, case.acme.principal("alice"), case.run.thread_id)


async def disable(case: Case) -> None:
    await case.told.until("text")
    await in_db(disable_member, case.acme.principal("adam"), case.acme.alice.pk)


async def run_out_of_time(case: Case) -> None:
    await case.told.until("text")
    pass_time(SHORT)


async def say_nothing(case: Case) -> None:
    await asyncio.to_thread(case.upstream.wait_for_requests)
    lose_patience()


async def wait_in_vain(case: Case) -> None:
    await idle()
    await worker.take_over(case.run.tenant_id, case.run.pk)


async def die_often(case: Case) -> None:
    def dead() -> None:
        with case.acme.scope():
            runs = Run.objects.filter(pk=case.run.pk)
            runs.update(owner=uuid4(), token=5, takeovers=3, status="in_progress")
        recovery.take_over(case.run.tenant_id, case.run.pk, owner=None)

    await case.told.until("text")
    await in_db(dead)


async def leave_nobody(case: Case) -> None:
    def switch_off() -> None:
        with case.acme.scope():
            Assistant.objects.update(enabled=False)

    await case.told.until("text")
    await say(case.acme, thread=case.run.thread_id)
    await in_db(switch_off)
    await in_db(cancel_run, case.acme.principal("alice"), case.run.pk)


async def go_on_without_server(case: Case) -> None:
    def take_out() -> None:
        with case.acme.scope():
            Assistant.objects.update(upstream="removed")

    await case.told.until("text")
    await in_db(take_out)
    await say(case.acme, thread=case.run.thread_id, busy="interrupt")


async def limit_the_cost(case: Case) -> None:
    def limit() -> None:
        with case.acme.scope():
            TenantPolicy.objects.create(max_cost_per_run=1)
        tenant_policy_cache.clear()

    await case.told.until("text")
    await in_db(limit)
    await say(
        case.acme,
        thread=case.run.thread_id,
        assistant=case.run.assistant_id,
        busy="interrupt",
    )


Before = Callable[[Company, pytest.MonkeyPatch], None]


def set_a_budget(company: Company, patch: pytest.MonkeyPatch) -> None:
    with company.scope():
        TenantPolicy.objects.create(max_tokens_per_run=30)
    tenant_policy_cache.clear()


def break_the_prompt(company: Company, patch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ValueError("a mistake of ours")

    patch.setattr(transactions, "build_prompt", fail)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What the model server answers, what is done meanwhile, and the status it leads to."""

    answers: list[Answer]
    status: str = "failed"
    code: str = "server_error"
    act: Act | None = None
    before: Before | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    # It is the run after the one that was begun.
    follows: bool = False


SCENES: dict[Reason, Scene] = {
    Reason.STOPPED: Scene(answers=[LONG], act=stop, status="cancelled"),
    Reason.INTERRUPTED: Scene(answers=[LONG], act=interrupt, status="cancelled"),
    Reason.THREAD_DELETED: Scene(answers=[LONG], act=delete, status="cancelled"),
    Reason.ACCESS_ENDED: Scene(answers=[LONG], act=disable, changes={"WATCH_SECONDS": 0.05}),
    Reason.DEADLINE: Scene(
        answers=[LONG], act=run_out_of_time, status="expired", changes={"RUN_SECONDS": SHORT}
    ),
    Reason.APPROVAL_EXPIRED: Scene(
        answers=[calling("cancel_order")],
        act=wait_in_vain,
        status="expired",
        changes={"APPROVAL_SECONDS": 0.0},
    ),
    Reason.UPSTREAM_UNAVAILABLE: Scene(answers=[Answer(status=503)] * 5),
    Reason.UPSTREAM_TIMEOUT: Scene(answers=[STALL], act=say_nothing, changes={"UPSTREAM_TRIES": 1}),
    Reason.UPSTREAM_RATE_LIMITED: Scene(
        answers=[Answer(status=429)], code="rate_limit_exceeded", changes={"UPSTREAM_TRIES": 1}
    ),
    Reason.UPSTREAM_REFUSED: Scene(answers=[failing("bad", 401)]),
    Reason.STREAM_BROKEN: Scene(answers=[Answer(), Answer()]),
    Reason.CONTENT_REFUSED: Scene(answers=[failing("content_filter")], code="invalid_prompt"),
    Reason.CONTEXT_TOO_LONG: Scene(
        answers=[failing("context_length_exceeded")], code="invalid_prompt"
    ),
    Reason.IMAGES_REFUSED: Scene(
        answers=[
            Answer(
                status=400,
                body='{"error": {"message": "image_url is only supported by certain models."}}',
            )
        ],
        code="invalid_prompt",
    ),
    Reason.CONTENT_FILTER: Scene(
        answers=[Answer(say=("So",), finish="content_filter")], status="incomplete"
    ),
    Reason.MAX_COMPLETION_TOKENS: Scene(
        answers=[Answer(calls=calling().calls, usage=(20, 250, 0, 0))],
        status="incomplete",
        options={"max_completion_tokens": 256},
    ),
    Reason.MAX_PROMPT_TOKENS: Scene(
        answers=[Answer(calls=calling().calls, usage=(250, 7, 0, 0))],
        status="incomplete",
        options={"max_prompt_tokens": 256},
    ),
    Reason.PRICE_UNKNOWN: Scene(answers=[LONG], act=limit_the_cost, follows=True),
    Reason.BUDGET: Scene(answers=[calling()], status="incomplete", before=set_a_budget),
    Reason.LOOP: Scene(answers=[calling()] * 3),
    Reason.TOO_MANY_ROUNDS: Scene(answers=[calling()], changes={"MAX_ROUNDS": 1}),
    Reason.TOO_MANY_CALLS: Scene(
        answers=[Answer(calls=calling().calls + calling(number=2).calls)],
        changes={"MAX_TOOL_CALLS": 1},
    ),
    Reason.POISON: Scene(answers=[LONG], act=die_often),
    Reason.UPSTREAM_REMOVED: Scene(answers=[LONG], act=go_on_without_server, follows=True),
    Reason.NO_ASSISTANT: Scene(answers=[LONG], act=leave_nobody, follows=True),
    Reason.SERVER_ERROR: Scene(answers=[], before=break_the_prompt),
}


@pytest.fixture(autouse=True)
def limits_read_anew() -> Iterator[None]:
    tenant_policy_cache.clear()
    yield
    tenant_policy_cache.clear()


def test_every_reason_has_its_scene() -> None:
    assert set(SCENES) == set(Reason)


@pytest.mark.parametrize("reason", SCENES)
async def test_a_run_ends_for_this_reason(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, reason: Reason
) -> None:
    scene = SCENES[reason]
    for answer in scene.answers:
        upstream_server.expect(answer)
    async with working(monkeypatch, upstream_server, **scene.changes) as told:
        if scene.before is not None:
            await in_db(scene.before, world.acme, monkeypatch)
        run = await begin(world.acme, scene)
        if scene.act is not None:
            await scene.act(Case(world=world, run=run, told=told, upstream=upstream_server))
        await idle()
    one = (
        await stored(world.acme, await last_of(world.acme, run) if scene.follows else run.pk)
    ).run
    assert (one.status, one.reason) == (scene.status, reason)
    rendered = wire.run_object(one)
    assert rendered["atrium"]["sentence"].endswith(".")
    if scene.status == "failed":
        assert rendered["last_error"] == {"code": scene.code, "message": str(reason.label)}
    else:
        assert rendered["last_error"] is None


async def begin(company: Company, scene: Scene) -> Run:
    """Start a run on a new thread as a program does."""
    run: Run = await in_db(
        create_thread_and_run,
        company.principal("alice"),
        assistant_id=await assistant_on(company, "responses", tools=TOOLS),
        thread={"messages": [{"role": "user", "content": "Hello"}]},
        **scene.options,
    )
    return run


async def last_of(company: Company, run: Run) -> str:
    def read() -> str:
        with company.scope():
            return str(Run.objects.filter(thread_id=run.thread_id).latest("created_at").pk)

    return await in_db(read)
