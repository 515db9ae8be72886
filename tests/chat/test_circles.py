"""Runs that a program's answers keep going: they end by the limits of any run."""

from __future__ import annotations

import pytest

from chat.actions.runs.create import create_thread_and_run
from chat.actions.runs.tool_outputs import submit_tool_outputs
from chat.models import ToolCall
from tenants.db import in_db
from tests.api.streaming import WEATHER
from tests.chat.at_work import assistant_on, idle, stored, working
from tests.upstream.script import Answer, Call
from tests.upstream.server import ScriptedServer
from tests.world import World

CITIES = ("Bern", "Basel", "Bern", "Basel")
LIMITS = [
    ("loop", ("Bern", "Bern", "Bern"), {"MAX_SAME_CALLS": 3}),
    ("too_many_rounds", CITIES[:2], {"MAX_ROUNDS": 2}),
    ("too_many_calls", CITIES[:3], {"MAX_TOOL_CALLS": 2}),
]


@pytest.mark.parametrize(("reason", "cities", "limit"), LIMITS)
async def test_calls_that_a_program_answers_count(
    world: World,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    reason: str,
    cities: tuple[str, ...],
    limit: dict[str, int],
) -> None:
    for city in cities:
        call = Call(name="get_weather", arguments=f'{{"city": "{city}"}}')
        upstream_server.expect(Answer(calls=(call,)))
    async with working(monkeypatch, upstream_server, **limit):
        run = await begun(world)
        while await answered(world, run):
            await idle()
    ended = (await stored(world.acme, run)).run
    assert (ended.status, ended.reason) == ("failed", reason)


async def test_the_same_call_with_another_between_is_no_circle(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for city in CITIES:
        call = Call(name="get_weather", arguments=f'{{"city": "{city}"}}')
        upstream_server.expect(Answer(calls=(call,)))
    upstream_server.expect(Answer(say=("Sunny.",)))
    async with working(monkeypatch, upstream_server, MAX_SAME_CALLS=2):
        run = await begun(world)
        while await answered(world, run):
            await idle()
    assert (await stored(world.acme, run)).run.status == "completed"


async def begun(world: World) -> str:
    """Start a run, and return its id when it stops."""
    run = await in_db(
        create_thread_and_run,
        world.acme.principal("alice"),
        assistant_id=await assistant_on(world.acme, "responses", tools=[WEATHER]),
    )
    await idle()
    return str(run.pk)


async def answered(world: World, run: str) -> bool:
    """Answer what the run waits for; return False where it does not wait."""
    found = await stored(world.acme, run)
    waiting: list[ToolCall] = [call for call in found.calls if call.ended_at is None]
    if not waiting:
        return False
    outputs = {call.pk: "sun" for call in waiting}
    await in_db(submit_tool_outputs, world.acme.principal("alice"), run, outputs)
    return True
