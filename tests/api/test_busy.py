"""A run that is asked for while another one is active on its thread: the extension `busy`."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from chat.actions.runs.create import MAX_WAITING_RUNS
from chat.models import Message, Run
from tenants.db import call_privileged
from tests.api.conftest import Api, assert_error
from tests.api.streaming import raw_events, text_in
from tests.model_server import ModelServer
from tests.world import World


@pytest.fixture
def busy(alice: Api, world: World) -> dict[str, Any]:
    """An active run that nobody executes."""
    thread = {"messages": [{"role": "user", "content": "First"}]}
    return alice.made("threads/runs", assistant_id=world.acme.assistant.pk, thread=thread)


def ask(api: Api, world: World, run: dict[str, Any], policy: str, text: str = "Second") -> Any:
    return api.post(
        f"threads/{run['thread_id']}/runs",
        assistant_id=world.acme.assistant.pk,
        additional_messages=[{"role": "user", "content": text}],
        busy=policy,
    )


def cancel(api: Api, run: dict[str, Any]) -> None:
    api.made(f"threads/{run['thread_id']}/runs/{run['id']}/cancel", {})


def said(world: World, run: dict[str, Any]) -> list[str]:
    with world.acme.scope():
        messages = Message.objects.filter(thread_id=run["thread_id"]).order_by("position")
        return [message.text() for message in messages]


def row(world: World, run: dict[str, Any]) -> Run:
    with world.acme.scope():
        found: Run = Run.objects.get(pk=run["id"])
        return found


def test_it_is_refused_unless_asked_otherwise(
    alice: Api, world: World, busy: dict[str, Any]
) -> None:
    refused = ask(alice, world, busy, "reject")
    message = assert_error(refused, 400)
    assert message == f"Thread {busy['thread_id']} already has an active run {busy['id']}."


def test_it_waits_for_its_turn(alice: Api, world: World, busy: dict[str, Any]) -> None:
    waiting = ask(alice, world, busy, "queue").json()
    assert (waiting["status"], waiting["atrium"]["waiting"]) == ("queued", True)
    assert waiting["expires_at"] is None
    assert said(world, busy) == ["First"]
    cancel(alice, busy)
    begun = alice.get(f"threads/{busy['thread_id']}/runs/{waiting['id']}").json()
    assert (begun["atrium"]["waiting"], begun["expires_at"] > 0) == (False, True)
    assert said(world, busy) == ["First", "Second"]
    assert row(world, waiting).through_position == 2


def test_several_wait_in_their_order(alice: Api, world: World, busy: dict[str, Any]) -> None:
    runs = [busy, *(ask(alice, world, busy, "queue", f"{n}").json() for n in range(3))]
    for before, after in itertools.pairwise(runs):
        cancel(alice, before)
        assert [row(world, run).waiting for run in runs].count(False) == runs.index(after) + 1
    assert said(world, busy) == ["First", "0", "1", "2"]


def test_it_interrupts(alice: Api, world: World, busy: dict[str, Any]) -> None:
    begun = ask(alice, world, busy, "interrupt").json()
    stopped = row(world, busy)
    assert (stopped.status, stopped.reason) == ("cancelled", "interrupted")
    assert (begun["status"], begun["atrium"]["waiting"]) == ("queued", False)
    assert said(world, busy) == ["First", "Second"]


def test_what_waits_is_cancelled_without_a_trace(
    alice: Api, world: World, busy: dict[str, Any]
) -> None:
    waiting = ask(alice, world, busy, "queue").json()
    cancel(alice, waiting)
    assert row(world, busy).status == "queued"
    cancel(alice, busy)
    assert said(world, busy) == ["First"]
    assert row(world, waiting).status == "cancelled"


def test_a_line_has_an_end(alice: Api, world: World, busy: dict[str, Any]) -> None:
    one = row(world, ask(alice, world, busy, "queue").json())
    with world.acme.scope():
        for _run in range(MAX_WAITING_RUNS - 1):
            one.pk = f"run_{_run:024}"
            one.save(force_insert=True)
    refused = ask(alice, world, busy, "queue")
    assert refused.status_code == 429


def test_a_line_is_nobodys_to_take_over(alice: Api, world: World, busy: dict[str, Any]) -> None:
    waiting = ask(alice, world, busy, "queue").json()
    lapsed = [run_id for run_id, _tenant in call_privileged("lapsed_runs", 15, 100)]
    assert busy["id"] in lapsed
    assert waiting["id"] not in lapsed


def test_a_stream_waits_for_its_turn_too(model: ModelServer, alice: Api) -> None:
    model.upstream.expect(say=("One", " two"), held_after=1)
    model.upstream.expect(say=("Three",), expect_text="Second")
    thread = alice.made("threads", messages=[{"role": "user", "content": "First"}])["id"]
    body: dict[str, Any] = {"assistant_id": model.acme, "stream": True}
    path = f"threads/{thread}/runs"
    first = raw_events(model, alice, path, body=body)
    assert next(first).name == "thread.run.created"
    more = [{"role": "user", "content": "Second"}]
    second = raw_events(
        model, alice, path, body={**body, "busy": "queue", "additional_messages": more}
    )
    assert next(second).data["atrium"]["waiting"]
    model.upstream.wait_for_requests()
    model.upstream.go_on()
    assert text_in(second) == "Three"
    assert text_in(first) == "One two"
