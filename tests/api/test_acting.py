"""Programs that act for users of their own: each user has their own threads, and no more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from chat.models import Run
from tenants import actions
from tenants.authentication import Principal, authenticate_key
from tenants.models import Membership
from tests.api.conftest import BETA, Api, assert_error
from tests.api.streaming import raw_events
from tests.clock import wait_until
from tests.model_server import ModelServer
from tests.world import Company, World

SCOPES = ["read", "write", "act_for_users"]


@pytest.fixture
def secret(world: World) -> str:
    """The key of a program of acme."""
    olga = world.acme.principal("olga")
    return actions.create_api_key(olga, name="Shop", program="Shop", scopes=SCOPES)[1]


def acting(secret: str, user: str) -> Api:
    return Api(secret=secret, headers={**BETA, "Atrium-User": user})


def titles(program: Api) -> list[str]:
    return [item["id"] for item in program.get("threads").json()["data"]]


def test_each_user_has_their_own_threads(secret: str) -> None:
    anna, boris = acting(secret, "anna"), acting(secret, "boris")
    thread = anna.made("threads")["id"]
    assert (titles(anna), titles(boris)) == ([thread], [])
    unknown = boris.get("threads/thread_000000000000000000000000")
    foreign = boris.get(f"threads/{thread}")
    assert foreign.status_code == unknown.status_code == 404


def test_the_program_itself_is_nobody_of_its_users(secret: str) -> None:
    program, anna = Api(secret=secret), acting(secret, "anna")
    own, theirs = program.made("threads")["id"], anna.made("threads")["id"]
    assert (titles(program), titles(anna)) == ([own], [theirs])
    assert program.get(f"threads/{theirs}").status_code == 404


def test_a_user_of_the_same_name_in_another_company_is_somebody_else(
    world: World, secret: str
) -> None:
    otto = world.globex.principal("otto")
    other = actions.create_api_key(otto, name="Shop", program="Shop", scopes=SCOPES)[1]
    thread = acting(secret, "anna").made("threads")["id"]
    assert titles(acting(other, "anna")) == []
    assert acting(other, "anna").get(f"threads/{thread}").status_code == 404


def test_users_write_no_assistants(world: World) -> None:
    adam = world.acme.principal("adam")
    scopes = ["read", "write", "admin", "act_for_users"]
    secret = actions.create_api_key(adam, name="Own", scopes=scopes)[1]
    refused = acting(secret, "anna").post("assistants", model="demo-scripted")
    assert_error(refused, 403, code="permission_denied")


def test_the_header_takes_the_scope(alice: Api) -> None:
    alice.headers["Atrium-User"] = "anna"
    assert_error(alice.get("threads"), 403, param="Atrium-User", code="permission_denied")


@pytest.mark.parametrize("name", ["", "two words", "x" * 201, "\xff"])
def test_an_unfit_user_is_refused(secret: str, name: str) -> None:
    assert_error(acting(secret, name).get("threads"), 400, param="Atrium-User", code="invalid")


def test_a_user_who_is_shut_out_stays_out(world: World, secret: str) -> None:
    anna = acting(secret, "anna")
    anna.get("threads")
    user = actions.act_for_user(authenticate_key(secret), "anna")
    assert user.membership_id is not None
    actions.disable_member(world.acme.principal("adam"), user.membership_id)
    assert_error(anna.get("threads"), 403, code="permission_denied")


def users(world: World) -> list[str]:
    with world.acme.scope():
        found = Membership.objects.filter(kind="external").order_by("external_id")
        return list(found.values_list("external_id", flat=True))


def test_who_asks_too_often_makes_no_users(
    world: World, secret: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenants.clock.time.time", lambda: 60_000_005.0)
    settings.CHAT = {**settings.CHAT, "API_REQUESTS_PER_MINUTE": 1}
    answers = [acting(secret, name).get("threads").status_code for name in ("anna", "boris")]
    assert answers == [200, 429]
    assert users(world) == ["anna"]


def test_a_request_beyond_the_key_makes_no_user(world: World) -> None:
    adam = world.acme.principal("adam")
    reading = actions.create_api_key(adam, name="Own", scopes=["read", "act_for_users"])[1]
    assert acting(reading, "anna").post("threads").status_code == 403
    assert users(world) == []


def test_a_company_gets_so_many_users_in_an_hour(
    world: World, secret: str, settings: Settings
) -> None:
    settings.EXTERNAL_USERS_PER_HOUR = 1
    acting(secret, "anna").made("threads")
    refused = acting(secret, "boris").post("threads")
    assert_error(refused, 429, code="too_many_new_users")
    assert acting(secret, "anna").post("threads").status_code == 200
    with world.acme.scope():
        hour_ago = timezone.now() - timedelta(hours=1)
        Membership.objects.filter(external_id="anna").update(created_at=hour_ago)
    acting(secret, "boris").made("threads")


def test_a_company_gets_so_many_users_at_all(world: World, secret: str, settings: Settings) -> None:
    settings.EXTERNAL_USERS = 1
    acting(secret, "anna").made("threads")
    assert_error(acting(secret, "boris").post("threads"), 400, code="too_many_users")
    assert users(world) == ["anna"]


Ending = Callable[[Company, Principal], object]
ENDINGS: dict[str, Ending] = {
    "the key is revoked": lambda company, program: actions.revoke_api_key(
        company.principal("adam"), program.key.pk if program.key else company.tenant.pk
    ),
    "the program is disabled": lambda company, program: actions.disable_member(
        company.principal("adam"), program.membership_id or company.tenant.pk
    ),
}


@pytest.mark.parametrize("end", ENDINGS)
def test_streams_and_runs_of_users_end_with_their_program(
    model: ModelServer, world: World, secret: str, end: str
) -> None:
    model.upstream.expect(say=("Wait", "."), stall_after=1)
    thread = {"messages": [{"role": "user", "content": "Hello"}]}
    body = {"assistant_id": model.acme, "thread": thread, "stream": True}
    events = raw_events(model, acting(secret, "anna"), "threads/runs", body=body)
    run = next(event.data["id"] for event in events if event.name == "thread.run.created")
    ENDINGS[end](world.acme, authenticate_key(secret))
    *_before, last = events
    assert (last.name, last.data["error"]["code"]) == ("error", "access_ended")
    assert reason_of(world.acme, run) == "access_ended"


def reason_of(company: Company, run_id: str) -> str:
    """Wait for the end of a run and return its reason."""

    def read() -> Run:
        with company.scope():
            run: Run = Run.objects.get(pk=run_id)
        return run

    wait_until(lambda: read().ended_at)
    return str(read().reason)
