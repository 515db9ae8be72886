"""Signing in through the pages, and where a person lands."""

from __future__ import annotations

import math
from datetime import datetime

import pytest
from allauth.usersessions.models import UserSession
from django.core import mail
from django.test import Client
from pytest_django import Settings

from tenants.actions import make_reset_link, sign_out_member
from tenants.authentication import choose_membership
from tenants.models import Membership, User
from tests.world import PASSWORD, World

LOGIN = "/accounts/login/"


def sign_in(email: str, password: str = PASSWORD) -> Client:
    client = Client()
    client.post(LOGIN, {"login": email, "password": password})
    return client


def chosen(client: Client) -> str | None:
    found = client.session.get("membership")
    return found["id"] if found else None


def test_member_of_one_company_is_in_it_at_once(world: World) -> None:
    client = sign_in("Alice@ACME.example")
    assert chosen(client) == str(world.acme.alice.pk)


def test_wrong_password_and_unknown_address_read_alike(world: World) -> None:
    answers = [
        Client().post(LOGIN, {"login": address, "password": "wrong"}).content.decode()
        for address in ("alice@acme.example", "nobody@acme.example")
    ]
    without_address = [text.split("errorlist")[1].split("</ul>")[0] for text in answers]
    assert without_address[0] == without_address[1]


def test_member_of_two_companies_chooses(world: World) -> None:
    client = sign_in("pat@both.example")
    assert chosen(client) is None
    page = client.get("/companies/").content.decode()
    assert str(world.acme.pat.pk) in page
    assert str(world.globex.pat.pk) in page


def test_signed_in_without_choice_is_sent_to_it_and_not_round(world: World) -> None:
    client = sign_in("pat@both.example")
    answer = client.get(f"{LOGIN}?next=/")
    assert answer["Location"] == "/companies/"


def test_operator_lands_in_the_admin(world: World) -> None:
    answer = Client().post(LOGIN, {"login": "operator@atrium.example", "password": PASSWORD})
    assert answer["Location"] == "/admin/"


def test_somebody_without_company_reads_what_to_do(world: World) -> None:
    User.objects.create_user("lone@else.example", PASSWORD)
    client = sign_in("lone@else.example")
    assert client.get(LOGIN)["Location"] == "/no-company/"
    page = client.get("/no-company/").content.decode()
    assert "lone@else.example" in page


@pytest.mark.parametrize("place", ["signup/", "email/", "social/", "confirm-email/"])
def test_pages_of_allauth_that_would_open_the_door_are_not_there(world: World, place: str) -> None:
    assert world.acme.client("alice").get(f"/accounts/{place}").status_code == 404


def test_too_many_failures_are_stopped(world: World) -> None:
    for _try in range(12):
        answer = Client().post(LOGIN, {"login": "alice@acme.example", "password": "wrong"})
    assert "Too many failed attempts" in answer.content.decode()


def test_inactive_account_does_not_get_in(world: World) -> None:
    User.objects.filter(email="bob@acme.example").update(is_active=False)
    client = sign_in("bob@acme.example")
    assert client.get("/profile/").status_code == 302


@pytest.mark.parametrize("cookie", [r'"\000\000\000\000\000\000\000\000"', "x" * 5000, "ü" * 12])
def test_nonsense_in_the_session_cookie_is_no_sign_in(world: World, cookie: str) -> None:
    client = Client(HTTP_COOKIE=f"sessionid={cookie}")
    assert client.get("/profile/").status_code == 302


def test_sign_out_ends_the_sign_in(world: World) -> None:
    client = world.acme.client("alice")
    key = client.cookies["sessionid"].value
    client.post("/accounts/logout/")
    assert Client(HTTP_COOKIE=f"sessionid={key}").get("/profile/").status_code == 302


def test_switch_acts_for_the_other_company(world: World) -> None:
    client = world.acme.client("pat")
    old_key = client.cookies["sessionid"].value
    client.post("/switch/", {"membership": str(world.globex.pat.pk)})
    assert chosen(client) == str(world.globex.pat.pk)
    assert client.cookies["sessionid"].value != old_key


def test_page_of_the_former_company_is_told(world: World) -> None:
    client = world.acme.client("pat")
    client.post("/switch/", {"membership": str(world.globex.pat.pk)})
    answer = client.get("/profile/", headers={"X-Atrium-Membership": str(world.acme.pat.pk)})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "company_changed")


@pytest.mark.parametrize(
    "wanted", ["", "not-an-id", "\x00", "00000000-0000-0000-0000-000000000000"]
)
def test_switch_to_nothing_is_not_found(world: World, wanted: str) -> None:
    assert world.acme.client("pat").post("/switch/", {"membership": wanted}).status_code == 404


def test_switch_to_somebody_elses_membership_is_not_found(world: World) -> None:
    client = world.acme.client("alice")
    answer = client.post("/switch/", {"membership": str(world.globex.gina.pk)})
    assert answer.status_code == 404
    assert chosen(client) == str(world.acme.alice.pk)


def test_company_that_signed_somebody_out_is_not_chosen_again_without_signing_in(
    world: World,
) -> None:
    client = sign_in("pat@both.example")
    sign_out_member(world.acme.principal("adam"), world.acme.pat.pk)
    answer = client.post("/switch/", {"membership": str(world.acme.pat.pk)})
    assert answer["Location"] == LOGIN
    assert "membership" not in client.session


def test_after_signing_in_again_the_company_opens(world: World) -> None:
    sign_out_member(world.acme.principal("adam"), world.acme.pat.pk)
    client = sign_in("pat@both.example")
    client.post("/switch/", {"membership": str(world.acme.pat.pk)})
    assert chosen(client) == str(world.acme.pat.pk)


def test_switch_goes_to_no_other_site(world: World) -> None:
    wanted = {"membership": str(world.globex.pat.pk), "next": "https://evil.example/"}
    assert world.acme.client("pat").post("/switch/", wanted)["Location"] == "/"


def test_new_password_ends_every_other_sign_in(world: World) -> None:
    here, there = sign_in("alice@acme.example"), sign_in("alice@acme.example")
    there.get("/profile/")
    new = {"oldpassword": PASSWORD, "password1": "fresh-grape-77", "password2": "fresh-grape-77"}
    assert here.post("/accounts/password/change/", new)["Location"] == "/profile/"
    assert not there.session.exists(there.cookies["sessionid"].value)
    assert here.get("/profile/").status_code == 200


def test_forgotten_password_without_mail_says_who_helps(world: World) -> None:
    page = Client().get("/accounts/password/reset/").content.decode()
    assert "Ask its operator for a link" in page


def test_forgotten_password_is_set_through_the_mailed_link(
    world: World, settings: Settings
) -> None:
    settings.EMAIL_URL = "smtp://mail.example"
    client = Client()
    client.post("/accounts/password/reset/", {"email": "alice@acme.example"})
    link = next(word for word in mail.outbox[0].body.split() if "/password/reset/" in word)
    _set_new_password(client, link)
    assert chosen(sign_in("alice@acme.example", "fresh-grape-77")) is not None


def test_unknown_address_gets_no_mail_and_the_same_answer(world: World, settings: Settings) -> None:
    settings.EMAIL_URL = "smtp://mail.example"
    answers = [
        Client().post("/accounts/password/reset/", {"email": address})["Location"]
        for address in ("nobody@acme.example", "alice@acme.example")
    ]
    assert answers[0] == answers[1]
    assert [message.to for message in mail.outbox] == [["alice@acme.example"]]


def test_reset_link_of_the_operator_works_once(world: World) -> None:
    link = make_reset_link(world.operator, "alice@acme.example", base_url="http://testserver")
    _set_new_password(Client(), link)
    page = Client().get(link, follow=True).content.decode()
    assert "has expired or was already used" in page


def test_reset_link_ends_sign_ins(world: World) -> None:
    there = sign_in("alice@acme.example")
    link = make_reset_link(world.operator, "alice@acme.example", base_url="http://testserver")
    _set_new_password(Client(), link)
    assert there.get("/profile/").status_code == 302
    assert not there.session.exists(there.cookies["sessionid"].value)


def _set_new_password(client: Client, link: str) -> None:
    page = client.get(link, follow=True)
    path = page.redirect_chain[-1][0]
    client.post(path, {"password1": "fresh-grape-77", "password2": "fresh-grape-77"})


def test_suspended_choice_is_not_offered(world: World) -> None:
    with world.globex.scope():
        Membership.objects.filter(pk=world.globex.pat.pk).update(disabled_at="2026-01-01T00:00Z")
    assert chosen(sign_in("pat@both.example")) == str(world.acme.pat.pk)


def test_choice_survives_nothing_but_the_account_it_was_made_for(world: World) -> None:
    client = world.acme.client("alice")
    session = client.session
    choose_membership(session, world.globex.gina)
    session.save()
    assert client.get("/profile/").content.decode().count("Globex") == 0


def last_use(client: Client) -> datetime:
    sign_in = UserSession.objects.get(session_key=client.cookies["sessionid"].value)
    found: datetime = sign_in.last_seen_at
    return found


def test_the_last_use_of_a_sign_in_is_noted_once_a_minute(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = sign_in("alice@acme.example")
    monkeypatch.setattr("tenants.accounts.session_activity.RECORD_INTERVAL_SECONDS", math.inf)
    client.get("/profile/")
    before = last_use(client)
    client.get("/profile/")
    assert last_use(client) == before
    monkeypatch.setattr("tenants.accounts.session_activity.RECORD_INTERVAL_SECONDS", 0.0)
    client.get("/profile/")
    assert last_use(client) > before


def test_the_use_of_a_sign_in_from_elsewhere_is_noted_at_once(world: World) -> None:
    client = sign_in("alice@acme.example")
    client.get("/profile/")
    before = last_use(client)
    client.get("/profile/", REMOTE_ADDR="192.0.2.7")
    assert last_use(client) > before
