"""How often a key and a company may ask, and what a key's scopes let it do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.cache import cache
from pytest_django import Settings

from tests.api.conftest import Api, assert_error, program_of
from tests.world import World

LIMIT, LEFT, RESET = (f"x-ratelimit-{name}-requests" for name in ("limit", "remaining", "reset"))


@pytest.fixture(autouse=True)
def _still_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Five seconds into a minute, for the whole test."""
    monkeypatch.setattr("tenants.clock.time.time", lambda: 60_000_005.0)
    cache.clear()
    yield
    cache.clear()


def limit(settings: Settings, **limits: int) -> None:
    settings.CHAT = {**settings.CHAT, **limits}


def test_every_answer_tells_what_is_left(alice: Api, settings: Settings) -> None:
    limit(settings, API_REQUESTS_PER_MINUTE=5)
    for answer, left in ((alice.get("models"), "4"), (alice.delete("models"), "3")):
        assert (answer[LIMIT], answer[LEFT], answer[RESET]) == ("5", left, "55s")


def test_one_request_too_many_is_refused_until_the_next_minute(
    alice: Api, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(settings, API_REQUESTS_PER_MINUTE=1)
    alice.get("models")
    refused = alice.get("models")
    assert_error(refused, 429, code="rate_limit_exceeded")
    assert (refused["Retry-After"], refused[LEFT]) == ("55", "0")
    monkeypatch.setattr("tenants.clock.time.time", lambda: 60_000_060.0)
    assert alice.get("models").status_code == 200


def test_keys_are_counted_apart(alice: Api, adam: Api, settings: Settings) -> None:
    limit(settings, API_REQUESTS_PER_MINUTE=1)
    assert [item.get("models").status_code for item in (alice, adam, alice)] == [200, 200, 429]


def test_a_company_is_counted_as_a_whole_and_apart_from_others(
    alice: Api, adam: Api, gina: Api, settings: Settings
) -> None:
    limit(settings, API_REQUESTS_PER_MINUTE_PER_TENANT=1)
    assert [item.get("models").status_code for item in (alice, adam, gina)] == [200, 429, 200]


def test_a_key_without_the_scope_for_it_reads_nothing(world: World) -> None:
    writer = program_of(world.acme, "adam", scopes=["write"])
    assert_error(writer.get("models"), 403, code="permission_denied")


@pytest.mark.parametrize("path", ["threads", "assistants"])
def test_a_key_that_reads_does_not_write(world: World, path: str) -> None:
    reader = program_of(world.acme, "adam", scopes=["read"])
    assert_error(reader.post(path, {}), 403, code="permission_denied")
    assert reader.get("models").status_code == 200


def test_assistants_are_written_with_the_scope_for_it_only(world: World) -> None:
    writer = program_of(world.acme, "adam", scopes=["read", "write"])
    made = writer.post("assistants", model="demo-scripted")
    assert_error(made, 403, code="permission_denied")
