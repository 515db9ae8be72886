"""Streams that are lost, resumed, repeated, or taken away."""

from __future__ import annotations

import itertools
import json
import urllib.error
from dataclasses import replace
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from chat.api import events, streams
from chat.models import Run
from tenants.authentication import Principal
from tenants.db import in_db
from tenants.models import ApiKey
from tests.api.conftest import Api
from tests.api.streaming import WEATHER, Raw, raw_events, text_in
from tests.model_server import ModelServer
from tests.upstream.script import Answer, Call
from tests.world import World

SAID = tuple(f"{number} 🌍 " for number in range(12))


def began(model: ModelServer, api: Api, **more: Any) -> Any:
    """Return the events of a new run on a new thread, as they come."""
    thread = {"messages": [{"role": "user", "content": "Hello"}]}
    body = {"assistant_id": model.acme, "thread": thread, "stream": True, **more}
    return raw_events(model, api, "threads/runs?event_ids=true", body=body)


def events_of(model: ModelServer, api: Api, run: dict[str, Any], *, after: str | None) -> Any:
    path = f"threads/{run['thread_id']}/runs/{run['id']}/events"
    return raw_events(model, api, path, after=after)


def run_in(events: list[Raw]) -> dict[str, Any]:
    found: dict[str, Any] = next(e.data for e in events if e.name == "thread.run.created")
    return found


def names(events: list[Raw]) -> list[str]:
    """Return the events' names, without those that come as often as the network likes."""
    return [event.name for event in events if event.name != "thread.message.delta"]


def test_a_dropped_stream_is_resumed_while_it_runs(model: ModelServer, alice: Api) -> None:
    model.upstream.expect(say=SAID, held_after=3, pace=0.05)
    seen = list(itertools.islice(began(model, alice), 9))
    model.upstream.go_on()
    rest = list(events_of(model, alice, run_in(seen), after=seen[-1].id))
    assert text_in(seen) and text_in(rest)
    assert text_in([*seen, *rest]) == "".join(SAID)
    assert names(rest)[-3:] == ["thread.run.step.completed", "thread.run.completed", "done"]


def test_an_ended_run_is_resumed_at_any_event(model: ModelServer, alice: Api) -> None:
    model.upstream.expect(say=SAID, pace=0.02)
    whole = list(began(model, alice))
    run = run_in(whole)
    for cut in range(1, len(whole) - 1):
        rest = list(events_of(model, alice, run, after=whole[cut].id))
        assert names([*whole[: cut + 1], *rest]) == names(whole), cut
        assert text_in([*whole[: cut + 1], *rest]) == "".join(SAID), cut


def test_a_run_is_streamed_again_from_its_beginning(model: ModelServer, alice: Api) -> None:
    model.upstream.expect(say=SAID)
    whole = list(began(model, alice))
    again = list(events_of(model, alice, run_in(whole), after=None))
    assert names(again) == names(whole)[1:]
    assert text_in(again) == "".join(SAID)


def test_a_stream_from_the_rows_alone_is_the_same(
    model: ModelServer, alice: Api, world: World
) -> None:
    """Its process has forgotten it: it ended before it began to be read."""
    run = world.acme.runs["alice"]
    events = list(events_of(model, alice, {"id": run.pk, "thread_id": run.thread_id}, after=None))
    assert names(events)[:6] == [
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.run.step.delta",
    ]
    assert names(events)[-2:] == ["thread.run.completed", "done"]


def test_nobody_reading_stops_no_run(model: ModelServer, alice: Api, world: World) -> None:
    model.upstream.expect(say=SAID, pace=0.02)
    run = run_in(list(itertools.islice(began(model, alice), 2)))
    list(events_of(model, alice, run, after=None))
    with world.acme.scope():
        assert Run.objects.get(pk=run["id"]).status == "completed"


def test_a_repeated_request_is_the_same_stream(model: ModelServer, alice: Api) -> None:
    model.upstream.expect(say=SAID)
    named = Api(secret=alice.secret, headers={**alice.headers, "Idempotency-Key": "one"})
    first, again = list(began(model, named)), list(began(model, named))
    assert run_in(first)["id"] == run_in(again)["id"]
    assert names(first) == names(again)
    assert text_in(again) == "".join(SAID)


def test_a_revoked_key_ends_its_streams(model: ModelServer, alice: Api, world: World) -> None:
    model.upstream.expect(say=SAID, stall_after=4)
    stream = began(model, alice)
    assert any(event.name == "thread.message.delta" for event in stream)
    with world.acme.scope():
        ApiKey.objects.filter(name="Program").update(revoked_at=timezone.now())
    *_ended, last = list(stream)
    assert (last.name, last.data["error"]["code"]) == ("error", "access_ended")


async def test_a_silent_stream_finds_lost_news_in_the_rows(
    alice: Api, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.CHAT, "KEEP_ALIVE_SECONDS", 0.05)
    principal, run = await in_db(queued, alice, world)
    stream = streams.stream_events(principal, streams.StreamStart(run=run))
    assert b"event: thread.run.created" in await anext(stream)
    assert await anext(stream) == events.KEEP_ALIVE
    await in_db(end, world, run)
    rest = b"".join([chunk async for chunk in stream])
    assert b"event: thread.run.completed" in rest
    assert rest.endswith(events.DONE)


def queued(api: Api, world: World) -> tuple[Principal, dict[str, Any]]:
    """Return who asks, and a run that no process executes."""
    with world.acme.scope():
        key = ApiKey.objects.get(name="Program")
    run = api.made("threads/runs", assistant_id=world.acme.assistant.pk)
    return replace(world.acme.principal("alice"), key=key), run


def end(world: World, run: dict[str, Any]) -> None:
    with world.acme.scope():
        Run.objects.filter(pk=run["id"]).update(status="completed", ended_at=timezone.now())


def test_events_have_ids_where_they_are_asked_for(model: ModelServer, alice: Api) -> None:
    model.upstream.when("Hello", Answer(say=SAID), repeat=True)
    thread = {"messages": [{"role": "user", "content": "Hello"}]}
    body = {"assistant_id": model.acme, "thread": thread, "stream": True}
    ids = [
        [event.id for event in raw_events(model, alice, path, body=body)]
        for path in ("threads/runs", "threads/runs?event_ids=false", "threads/runs?event_ids=true")
    ]
    assert [any(each) for each in ids] == [False, False, True]
    assert all(ids[2][:-1])


def test_a_run_that_goes_on_has_ids_where_they_are_asked_for(
    model: ModelServer, alice: Api
) -> None:
    """Also a program's outputs are answered by a stream, and the next one begins where it ends."""
    call = Call(name="get_weather", arguments="{}")
    model.upstream.expect(Answer(calls=(call,)))
    model.upstream.expect(say=SAID)
    waiting = list(began(model, alice, tools=[WEATHER]))
    run = waiting[-2].data
    [asked] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    path = f"threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs?event_ids=true"
    body = {"tool_outputs": [{"tool_call_id": asked["id"], "output": "Sun"}], "stream": True}
    whole = list(raw_events(model, alice, path, body=body))
    assert text_in(whole) == "".join(SAID)
    begun = names(whole).index("thread.run.step.created")
    for cut in range(begun, len(whole) - 1):
        rest = list(events_of(model, alice, run, after=whole[cut].id))
        assert names([*whole[: cut + 1], *rest]) == names(whole), cut
        assert text_in([*whole[: cut + 1], *rest]) == "".join(SAID), cut


@pytest.mark.parametrize("value", ["", "1", "yes", "True"])
def test_other_values_of_event_ids_are_refused(model: ModelServer, alice: Api, value: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="400") as refused:
        next(raw_events(model, alice, f"threads/runs?event_ids={value}", body={}))
    assert json.load(refused.value)["error"]["param"] == "event_ids"


def test_an_empty_id_is_none(model: ModelServer, alice: Api, world: World) -> None:
    run = world.acme.runs["alice"]
    where = {"id": run.pk, "thread_id": run.thread_id}
    told = list(events_of(model, alice, where, after=""))
    assert names(told) == names(list(events_of(model, alice, where, after=None)))


def test_ids_of_the_version_before_get_a_clear_answer(
    model: ModelServer, alice: Api, world: World
) -> None:
    run = world.acme.runs["alice"]
    where = {"id": run.pk, "thread_id": run.thread_id}
    with pytest.raises(urllib.error.HTTPError, match="400") as refused:
        next(events_of(model, alice, where, after="0.4.0.232"))
    assert "from its beginning" in json.load(refused.value)["error"]["message"]
    # Those of the run itself name no step, and have not changed.
    told = list(events_of(model, alice, where, after="-1.1.0.0"))
    assert names(told)[0] == "thread.run.queued"


@pytest.mark.parametrize("header", ["nothing", "1.2.3", "é", "0.4.0.1.7", "0.4.0.1.7.a-b"])
def test_other_ids_are_no_events(model: ModelServer, alice: Api, world: World, header: str) -> None:
    run = world.acme.runs["alice"]
    with pytest.raises(urllib.error.HTTPError, match="400"):
        next(events_of(model, alice, {"id": run.pk, "thread_id": run.thread_id}, after=header))
