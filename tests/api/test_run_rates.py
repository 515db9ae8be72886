"""How many answers somebody may start, and frames and page requests somebody may send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from pytest_django import Settings

from chat.errors import RateLimited
from chat.models import Message, Run
from chat.rates import FrameRate
from tenants.db import in_db
from tests.api.conftest import Api, assert_error, program_of
from tests.isolation.socket_in_process import SocketInProcess, socket_of
from tests.world import Company, World


@pytest.fixture(autouse=True)
def _still_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Five seconds into a minute, for the whole test."""
    monkeypatch.setattr("tenants.clock.time.time", lambda: 60_000_005.0)
    yield
    cache.clear()


def limit(settings: Settings, **limits: int) -> None:
    settings.CHAT = {**settings.CHAT, **limits}


def start_by_api(company: Company, name: str) -> Any:
    """Start an answer on a thread of its own."""
    question = {"role": "user", "content": "Hello"}
    body = {"assistant_id": company.assistant.pk, "thread": {"messages": [question]}}
    return program_of(company, name).post("threads/runs", body)


def frame(company: Company, client_id: str) -> dict[str, Any]:
    return {
        "thread": None,
        "client_id": client_id,
        "assistant": company.assistant.pk,
        "content": "Hello",
    }


def start_by_page(company: Company, name: str, client_id: str) -> Any:
    client = company.client(name)
    return client.post("/page/messages", frame(company, client_id), "application/json")


def count_runs(company: Company) -> int:
    with company.scope():
        return len(Run.objects.active())


def test_a_member_starts_so_many_answers_a_minute(world: World, settings: Settings) -> None:
    limit(settings, RUNS_PER_MINUTE=2)
    assert [start_by_api(world.acme, "alice").status_code for _run in range(2)] == [200, 200]
    refused = start_by_api(world.acme, "alice")
    words = assert_error(refused, 429, code="rate_limit_exceeded")
    assert "2 answers per minute" in words
    assert refused["Retry-After"] == "55"
    assert count_runs(world.acme) == 2
    assert start_by_api(world.acme, "bob").status_code == 200
    assert start_by_api(world.globex, "gina").status_code == 200


def test_the_next_minute_begins_anew(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(settings, RUNS_PER_MINUTE=1)
    assert start_by_api(world.acme, "alice").status_code == 200
    assert start_by_api(world.acme, "alice").status_code == 429
    monkeypatch.setattr("tenants.clock.time.time", lambda: 60_000_060.0)
    assert start_by_api(world.acme, "alice").status_code == 200


def test_a_company_starts_so_many_answers_a_minute(world: World, settings: Settings) -> None:
    limit(settings, RUNS_PER_MINUTE_PER_TENANT=2)
    names = ("alice", "bob", "pat", "alice")
    found = [start_by_api(world.acme, name).status_code for name in names]
    assert found == [200, 200, 429, 429]
    assert start_by_api(world.globex, "gina").status_code == 200


async def test_all_ways_to_start_an_answer_count_together(world: World, settings: Settings) -> None:
    limit(settings, RUNS_PER_MINUTE=3)
    acme = world.acme
    assert (await in_db(start_by_api, acme, "alice")).status_code == 200
    assert (await in_db(start_by_page, acme, "alice", "one")).status_code == 200
    async with socket_of(acme, "alice") as socket:
        assert kind_of(await send(socket, acme, "two")) == "ack"
        refused = await send(socket, acme, "three")
    assert refused["error"]["code"] == "rate_limit_exceeded"
    assert refused["error"]["retry_after"] == 55
    page = await in_db(start_by_page, acme, "alice", "four")
    assert (page.status_code, page["Retry-After"]) == (429, "55")
    assert (await in_db(start_by_api, acme, "alice")).status_code == 429
    thread = acme.threads["alice"].pk
    run = {"assistant_id": acme.assistant.pk}
    program = await in_db(program_of, acme, "alice")
    asked = await in_db(program.post, f"threads/{thread}/runs", run)
    assert asked.status_code == 429
    async with socket_of(acme, "alice") as socket:
        retry = {"type": "run.retry", "id": "1", "thread": thread, "assistant": None}
        [answer] = await socket.ask(retry)
    assert answer["error"]["code"] == "rate_limit_exceeded"
    assert await in_db(count_runs, acme) == 3


async def send(socket: SocketInProcess, company: Company, client_id: str) -> dict[str, Any]:
    """Send a message, and return the answer to its frame."""
    answers = await socket.ask({"type": "message.create", "id": "1", **frame(company, client_id)})
    return next(answer for answer in answers if answer["type"] != "event")


def kind_of(answer: dict[str, Any]) -> str:
    return str(answer["type"])


def test_a_message_that_was_taken_is_answered_again_beyond_the_rate(
    world: World, settings: Settings
) -> None:
    limit(settings, RUNS_PER_MINUTE=1)
    first = start_by_page(world.acme, "alice", "same")
    again = start_by_page(world.acme, "alice", "same")
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["message"]["id"] == again.json()["message"]["id"]
    refused = start_by_page(world.acme, "alice", "other")
    assert refused.status_code == 429
    with world.acme.scope():
        assert not Message.objects.filter(client_id="other").exists()


def test_what_is_refused_for_its_form_does_not_count(world: World, settings: Settings) -> None:
    limit(settings, RUNS_PER_MINUTE=1)
    bad = {"assistant_id": world.acme.assistant.pk, "thread": {"messages": "Hello"}}
    assert program_of(world.acme, "alice").post("threads/runs", bad).status_code == 400
    assert start_by_api(world.acme, "alice").status_code == 200


def test_requests_of_the_page_have_a_rate(world: World, settings: Settings) -> None:
    limit(settings, PAGE_REQUESTS_PER_MINUTE=3)
    client = world.acme.client("alice")
    addresses = ("/page/threads", "/", "/page/assistants", "/page/threads", "/")
    answers = [client.get(address) for address in addresses]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert {answer.get("Retry-After") for answer in answers[3:]} == {"55"}
    assert answers[3].json()["error"]["code"] == "rate_limit_exceeded"
    assert answers[4]["Content-Type"].startswith("text/html")
    assert world.acme.client("bob").get("/page/threads").status_code == 200


class TestFrames:
    def test_a_bucket_refills(self, settings: Settings) -> None:
        limit(settings, FRAMES_PER_SECOND=50)
        rate = FrameRate()
        for _frame in range(50):
            rate.check(100.0)
        with pytest.raises(RateLimited) as refused:
            rate.check(100.0)
        assert refused.value.retry_after == 1
        for number in range(1, 11):
            rate.check(100.0 + number / 50)
        with pytest.raises(RateLimited):
            rate.check(100.2)
        for _frame in range(50):
            rate.check(200.0)

    async def test_frames_beyond_the_rate_are_refused_one_by_one(
        self, world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limit(settings, FRAMES_PER_SECOND=50)
        now = [100.0]
        monkeypatch.setattr("chat.web.consumers.monotonic", lambda: now[0])
        async with socket_of(world.acme, "alice") as socket:
            for number in range(50):
                [answer] = await socket.ask({"type": "ping", "id": str(number)})
                assert answer == {"type": "ack", "id": str(number)}
            [refused] = await socket.ask({"type": "ping", "id": "late"})
            assert (refused["type"], refused["id"]) == ("error", "late")
            assert refused["error"]["code"] == "rate_limit_exceeded"
            assert refused["error"]["retry_after"] == 1
            now[0] += 1
            [answer] = await socket.ask({"type": "ping", "id": "later"})
            assert answer["type"] == "ack"


def test_the_default_rates(settings: Settings) -> None:
    chat = settings.CHAT
    assert (chat["RUNS_PER_MINUTE"], chat["RUNS_PER_MINUTE_PER_TENANT"]) == (300, 3_000)
    assert chat["FRAMES_PER_SECOND"] == 50


def test_a_key_counts_for_its_member(alice: Api, world: World, settings: Settings) -> None:
    limit(settings, RUNS_PER_MINUTE=1)
    assert start_by_page(world.acme, "alice", "one").status_code == 200
    thread = alice.made("threads")
    refused = alice.post(f"threads/{thread['id']}/runs", assistant_id=world.acme.assistant.pk)
    assert_error(refused, 429, code="rate_limit_exceeded")
