"""A request that is sent twice is carried out once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.cache import cache
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from chat.models import IdempotencyRecord, Run, Thread
from chat.tasks import erase_deleted_threads, erase_idempotency_records
from tests.api.conftest import Api, assert_error, program_of
from tests.api.racing import at_once
from tests.world import World


def named(api: Api, key: str = "one") -> Api:
    """Return the program with a key on its next requests."""
    return Api(secret=api.secret, headers={**api.headers, "Idempotency-Key": key})


def counted(api: Api, retries: int) -> Api:
    """Return the program as the official client counts its attempts."""
    return Api(secret=api.secret, headers={**api.headers, "x-stainless-retry-count": str(retries)})


def begin(api: Api, world: World, **more: Any) -> Any:
    return api.post("threads/runs", assistant_id=world.acme.assistant.pk, **more)


def count(world: World, model: Any) -> int:
    with world.acme.scope():
        return int(model.objects.count())


def test_the_same_key_is_answered_from_memory(alice: Api, world: World) -> None:
    first = begin(named(alice), world)
    runs = count(world, Run)
    again = begin(named(alice), world)
    assert (again.status_code, again.json()) == (200, first.json())
    assert count(world, Run) == runs


@pytest.mark.parametrize("path", ["assistants", "vector_stores"])
def test_a_repeat_is_told_the_version_too(world: World, path: str) -> None:
    admin = named(program_of(world.acme, "adam"))
    fields = {"model": "demo-scripted"} if path == "assistants" else {"name": "Manuals"}
    first, again = admin.post(path, **fields), admin.post(path, **fields)
    assert (first.status_code, again.status_code) == (200, 200), first.content
    assert first["ETag"] == again["ETag"] == admin.get(f"{path}/{first.json()['id']}")["ETag"]


def test_another_key_is_another_request(alice: Api, world: World) -> None:
    first, second = begin(named(alice, "one"), world), begin(named(alice, "two"), world)
    assert first.json()["id"] != second.json()["id"]


def test_a_key_with_another_body_is_refused(alice: Api, world: World) -> None:
    begin(named(alice), world)
    refused = begin(named(alice), world, instructions="Others.")
    assert_error(refused, 400, code="idempotency_key_reused")


def test_a_key_names_nothing_of_anybody_elses(
    alice: Api, adam: Api, gina: Api, world: World
) -> None:
    first = begin(named(alice), world)
    assert begin(named(adam), world).json()["id"] != first.json()["id"]
    foreign = begin(named(gina), world)
    assert_error(foreign, 404, param="assistant_id")


def test_a_key_belongs_to_one_address(alice: Api, world: World) -> None:
    begin(named(alice), world)
    assert "messages" not in named(alice).made("threads")


def test_a_refused_request_may_be_sent_again(alice: Api, world: World) -> None:
    assert begin(named(alice), world, temperature=3).status_code == 400
    assert begin(named(alice), world).status_code == 200


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "café"])
def test_a_key_is_short_and_visible(alice: Api, world: World, key: str) -> None:
    assert_error(begin(named(alice, key), world), 400, code="invalid_value")


def test_what_a_client_sends_again_by_itself_is_one_request(alice: Api, world: World) -> None:
    first = begin(counted(alice, 0), world)
    again = begin(counted(alice, 1), world)
    assert again.json() == first.json()


def test_the_same_words_twice_are_two_requests(alice: Api, world: World) -> None:
    first, second = begin(counted(alice, 0), world), begin(counted(alice, 0), world)
    assert first.json()["id"] != second.json()["id"]


def test_a_retry_of_what_never_arrived_is_carried_out(alice: Api, world: World) -> None:
    runs = count(world, Run)
    assert begin(counted(alice, 2), world).status_code == 200
    assert count(world, Run) == runs + 1


@pytest.mark.parametrize("limit", ["RUNS_PER_MEMBER", "API_REQUESTS_PER_MINUTE"])
def test_a_retry_of_a_refused_attempt_is_not_answered_for_an_earlier_request(
    alice: Api, world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr("tenants.clock.time.time", lambda: 60_000_005.0)
    cache.clear()
    first, usual = begin(counted(alice, 0), world), settings.CHAT
    settings.CHAT = {**usual, limit: 1}
    assert begin(counted(alice, 0), world).status_code == 429
    settings.CHAT = usual
    assert begin(counted(alice, 1), world).json()["id"] != first.json()["id"]


def test_a_late_retry_is_a_new_request(alice: Api, world: World) -> None:
    first = begin(counted(alice, 0), world)
    later(world, timedelta(seconds=61))
    assert begin(counted(alice, 1), world).json()["id"] != first.json()["id"]


def test_of_many_at_once_one_is_carried_out(alice: Api, world: World) -> None:
    threads = count(world, Thread)
    answers = at_once(4, lambda: begin(named(alice, "race"), world).json()["id"])
    assert len(set(answers)) == 1
    assert count(world, Thread) == threads + 1


def later(world: World, passed: timedelta) -> None:
    """Let time pass over what is kept."""
    with world.acme.scope():
        IdempotencyRecord.objects.update(expires_at=F("expires_at") - passed)


def test_keys_are_remembered_for_a_day_and_attempts_for_a_minute(alice: Api, world: World) -> None:
    begin(named(alice), world)
    begin(counted(alice, 0), world)
    with world.acme.scope():
        kept = [item.expires_at - item.created_at for item in IdempotencyRecord.objects.all()]
    assert sorted(kept) == [timedelta(minutes=1), timedelta(days=1)]
    for passed, left in ((30, 2), (31, 1), (24 * 3600 - 121, 1), (61, 0)):
        later(world, timedelta(seconds=passed))
        async_to_sync(erase_idempotency_records.func)(0)
        assert count(world, IdempotencyRecord) == left


@pytest.mark.parametrize("stream", [True, False])
def test_what_was_answered_goes_with_its_thread(alice: Api, world: World, stream: bool) -> None:
    thread = named(alice, "thread").made("threads")["id"]
    named(alice, "message").made(f"threads/{thread}/messages", role="user", content="Hello")
    body = {"assistant_id": world.acme.assistant.pk, "stream": stream}
    named(alice, "run").post(f"threads/{thread}/runs", body)
    named(alice, "other").made("threads")
    with world.acme.scope():
        Run.objects.update(status="completed")
        Thread.objects.filter(pk=thread).update(deleted_at=timezone.now() - timedelta(days=1))
    async_to_sync(erase_deleted_threads.func)(0)
    assert count(world, IdempotencyRecord) == 1


def test_what_was_answered_goes_with_its_assistant(adam: Api, world: World) -> None:
    made = named(adam, "one").made("assistants", model="demo-scripted", instructions="Secret.")
    named(adam, "two").made(f"assistants/{made['id']}", instructions="Another secret.")
    assert count(world, IdempotencyRecord) == 2
    adam.delete(f"assistants/{made['id']}")
    assert count(world, IdempotencyRecord) == 0
