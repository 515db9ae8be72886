"""The profile, the second factor, and where one is signed in."""

from __future__ import annotations

import base64

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.test import Client

from tenants.actions import remove_second_factor, update_tenant_settings
from tenants.errors import NotAllowed
from tenants.models import Membership
from tests.tenants.test_sign_in import chosen, sign_in
from tests.world import PASSWORD, World

FIT = {"name": "Alice B.", "language": "en", "zone": "Europe/Vienna"}
# A code is good for one of these; the clock of an authenticator app moves on every 30 seconds.
COUNTER = 59_000_000


@pytest.fixture(autouse=True)
def one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes stay good, however long a test takes."""
    module = "allauth.mfa.totp.internal.auth"
    monkeypatch.setattr(f"{module}.yield_hotp_counters_from_time", lambda: iter([COUNTER]))


def test_profile_is_saved(world: World) -> None:
    answer = world.acme.client("alice").post("/profile/", FIT, follow=True)
    assert "Saved." in answer.content.decode()
    with world.acme.scope():
        assert Membership.objects.get(pk=world.acme.alice.pk).zone == "Europe/Vienna"


@pytest.mark.parametrize(
    "bad",
    [{"name": ""}, {"name": "\x00"}, {"name": "x" * 101}, {"zone": "Mars"}, {"language": "\x00"}],
)
def test_unfit_profile_is_told_in_the_form(world: World, bad: dict[str, str]) -> None:
    answer = world.acme.client("alice").post("/profile/", {**FIT, **bad})
    assert answer.status_code == 400
    assert "errorlist" in answer.content.decode()


def test_profile_shows_one_company_only(world: World) -> None:
    page = world.acme.client("pat").get("/profile/").content.decode()
    assert "Acme" in page
    assert world.globex.canary not in page


def test_profile_tells_who_reads_the_chats(world: World) -> None:
    client = world.acme.client("alice")
    assert "Only you" in client.get("/profile/").content.decode()
    update_tenant_settings(world.acme.principal("olga"), admins_read_threads=True)
    assert "Only you" not in client.get("/profile/").content.decode()


def test_profile_without_company_shows_the_account(world: World) -> None:
    page = world.operator_client().get("/profile/")
    assert page.context["form"] is None
    assert world.operator.email in page.content.decode()


def test_profile_without_company_saves_nothing(world: World) -> None:
    assert world.operator_client().post("/profile/", FIT).status_code == 403


def test_signed_out_visitor_is_sent_to_sign_in(world: World) -> None:
    assert Client().get("/profile/")["Location"] == "/accounts/login/?next=/profile/"


def code_for(secret: str) -> str:
    padded = secret + "=" * (-len(secret) % 8)
    assert base64.b32decode(padded)
    return str(format_hotp_value(hotp_value(secret, COUNTER)))


def with_second_factor() -> tuple[Client, str]:
    """Return a client that has just set up an authenticator app, and its secret."""
    client = sign_in("alice@acme.example")
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    page = client.get("/accounts/second-factor/app/on/")
    secret = page.context["form"].secret
    client.post("/accounts/second-factor/app/on/", {"code": code_for(secret)})
    return client, secret


def test_second_factor_is_asked_at_sign_in(world: World) -> None:
    with_second_factor()
    client = Client()
    answer = client.post("/accounts/login/", {"login": "alice@acme.example", "password": PASSWORD})
    assert answer["Location"] == "/accounts/second-factor/code/"
    assert client.get("/profile/").status_code == 302


def test_recovery_code_opens_the_account_once(world: World) -> None:
    owner, _secret = with_second_factor()
    page = owner.get("/accounts/second-factor/recovery-codes/")
    code = page.context["unused_codes"][0]
    landed = []
    for _time in range(2):
        client = sign_in("alice@acme.example")
        client.post("/accounts/second-factor/code/", {"code": code})
        landed.append(chosen(client))
    assert landed == [str(world.acme.alice.pk), None]


def test_wrong_code_does_not_open(world: World) -> None:
    with_second_factor()
    client = sign_in("alice@acme.example")
    answer = client.post("/accounts/second-factor/code/", {"code": "000000"})
    assert "errorlist" in answer.content.decode()


def test_secret_of_the_app_is_sealed_in_the_database(world: World) -> None:
    _client, secret = with_second_factor()
    stored = Authenticator.objects.get(type=Authenticator.Type.TOTP).data["secret"]
    assert secret not in stored


def test_setting_up_asks_for_the_password_once_more(world: World) -> None:
    answer = sign_in("alice@acme.example").get("/accounts/second-factor/app/on/")
    assert answer["Location"].startswith("/accounts/reauthenticate/")


def test_lost_second_factor_is_taken_off_by_the_operator_alone(world: World) -> None:
    with_second_factor()
    with pytest.raises(NotAllowed):
        remove_second_factor(world.acme.olga.user, "alice@acme.example")
    remove_second_factor(world.operator, "alice@acme.example")
    assert chosen(sign_in("alice@acme.example")) is not None


def test_signing_out_elsewhere_ends_the_other_devices(world: World) -> None:
    here, there = sign_in("alice@acme.example"), sign_in("alice@acme.example")
    assert here.get("/accounts/sign-ins/").content.decode().count("last active") == 1
    here.post("/accounts/sign-ins/")
    assert there.get("/profile/").status_code == 302
    assert here.get("/profile/").status_code == 200


PAGES = [
    "/accounts/logout/",
    "/accounts/password/change/",
    "/accounts/second-factor/",
    "/accounts/sign-ins/",
    "/profile/",
    "/companies/",
]


@pytest.mark.parametrize("path", PAGES)
def test_page_stands_and_allows_no_inline_code(world: World, path: str) -> None:
    answer = sign_in("alice@acme.example").get(path)
    text = answer.content.decode()
    assert answer.status_code == 200
    assert "'unsafe" not in answer["Content-Security-Policy"]
    assert " style=" not in text
    assert "<style" not in text
    assert "onclick" not in text
