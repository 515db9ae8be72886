"""Many streams at once: what each of them holds, and how many a key may open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.conf import settings

from chat.api import streams
from chat.conf import conf
from tenants.db import in_db
from tenants.models import ApiKey
from tests.api.conftest import Api, assert_error
from tests.api.streaming import Raw, raw_events, text_in
from tests.api.test_resume import queued
from tests.clock import WAIT_SECONDS
from tests.model_server import ModelServer
from tests.upstream.script import Answer
from tests.world import World

OPEN = 24  # more than there are database connections
SAID = tuple(f"{number} " for number in range(10))


def begun(model: ModelServer, api: Api) -> Iterator[Raw]:
    thread = {"messages": [{"role": "user", "content": "Hello"}]}
    body: dict[str, Any] = {"assistant_id": model.acme, "thread": thread, "stream": True}
    return raw_events(model, api, "threads/runs", body=body)


def test_an_open_stream_holds_no_database_connection(model: ModelServer, alice: Api) -> None:
    model.upstream.when("Hello", Answer(say=SAID, held_after=1), repeat=True)
    opened = [begun(model, alice) for _stream in range(OPEN)]
    assert {next(stream).name for stream in opened} == {"thread.created"}
    model.upstream.wait_for_requests(OPEN)
    model.upstream.go_on()
    assert {text_in(stream) for stream in opened} == {"".join(SAID)}


def test_a_key_opens_so_many_streams(
    alice: Api, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.acme.scope():
        key = ApiKey.objects.get(name="Program")
    monkeypatch.setitem(streams._open, key.pk, conf.api_streams_per_key)
    run = world.acme.runs["alice"]
    refused = alice.get(f"threads/{run.thread_id}/runs/{run.pk}/events")
    assert_error(refused, 429, code="too_many_streams")
    begin = alice.post("threads/runs", assistant_id=world.acme.assistant.pk, stream=True)
    assert_error(begin, 429, code="too_many_streams")


async def test_the_keys_of_one_member_open_so_many_together(
    alice: Api, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.CHAT, "API_STREAMS_PER_MEMBER", 1)
    principal, run = await in_db(queued, alice, world)
    first = streams.stream_events(principal, streams.StreamStart(run=run))
    await anext(first)
    streams.check_stream_limit(replace(principal, key=world.acme.keys["olga"]))
    with pytest.raises(streams.TooManyStreams):
        streams.check_stream_limit(replace(principal, key=world.acme.keys["alice"]))
    await first.aclose()
    streams.check_stream_limit(principal)


@pytest.mark.parametrize("limit", ["API_STREAMS_PER_KEY", "API_STREAMS_PER_MEMBER"])
async def test_of_streams_that_begin_at_once_so_many_open(
    alice: Api, world: World, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setitem(settings.CHAT, limit, 1)
    principal, run = await in_db(queued, alice, world)
    first, second, third = (
        streams.EventStream(principal, streams.StreamStart(run=run)).chunks for _stream in range(3)
    )
    assert b"event: thread.run.created" in await anext(first)
    refused = b"".join([chunk async for chunk in second])
    assert b"event: error" in refused and b"too_many_streams" in refused
    await first.aclose()
    assert b"event: thread.run.created" in await anext(third)
    await third.aclose()


async def test_a_client_that_does_not_read_is_cut_off(
    alice: Api, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.CHAT, "SLOW_SECONDS", 0.02)
    principal, run = await in_db(queued, alice, world)

    async def write() -> None:
        async for _chunk in streams.stream_events(principal, streams.StreamStart(run=run)):
            await asyncio.Event().wait()  # nobody takes it

    task = asyncio.create_task(write())
    await asyncio.wait({task}, timeout=WAIT_SECONDS)
    assert task.cancelled()
