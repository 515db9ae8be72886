"""What happens to accounts is in the audit logs of their companies, without filling them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import structlog
from django.contrib.admin.utils import quote
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from chat.models import File
from tenants.accounts.events import wait_for_records
from tenants.actions import (
    create_operator,
    disable_member,
    make_reset_link,
    revoke_api_key,
    update_profile,
)
from tenants.models import ApiKey, AuditEvent, User
from tests.tenants.test_sign_in import sign_in
from tests.tenants.test_waiver import Clock, clock, set_up_account_factor
from tests.world import PASSWORD, Company, World

__all__ = ["clock"]


def events(company: Company, action: str) -> list[AuditEvent]:
    wait_for_records()
    with company.scope():
        return list(AuditEvent.objects.filter(action=action).order_by("created_at"))


def fail_to_sign_in(address: str, *, times: int = 1) -> None:
    for _time in range(times):
        cache.clear()  # no rate limit stands in for the bound that is tested
        Client().post("/accounts/login/", {"login": address, "password": "wrong"})


def test_a_sign_in_is_in_the_log_of_the_company_it_enters(world: World) -> None:
    sign_in("alice@acme.example")
    (event,) = events(world.acme, "sign_in.entered")
    assert (event.actor_id, event.actor) == (world.acme.alice.pk, world.acme.alice.name)
    assert events(world.globex, "sign_in.entered") == []


def test_who_is_in_two_companies_is_recorded_where_they_go(world: World) -> None:
    client = sign_in("pat@both.example")
    assert events(world.acme, "sign_in.entered") == []
    client.post("/switch/", {"membership": str(world.globex.pat.pk)})
    assert events(world.acme, "sign_in.entered") == []
    assert [event.actor_id for event in events(world.globex, "sign_in.entered")] == [
        world.globex.pat.pk
    ]


def test_an_accepted_invitation_enters_once(world: World) -> None:
    form = {"name": "New", "password": "grape-fresh-77"}
    Client().post(f"/invitations/{world.acme.invitation_token}/", form)
    assert [event.subject for event in events(world.acme, "sign_in.entered")] == ["New"]


def test_a_failed_sign_in_is_in_the_logs_of_the_accounts_companies(world: World) -> None:
    fail_to_sign_in("Pat@both.example")
    for company in (world.acme, world.globex):
        (event,) = events(company, "sign_in.failed")
        assert (event.actor_id, event.actor, event.subject) == (None, "unknown", company.pat.name)


@pytest.mark.parametrize("address", ["nobody@nowhere.example", "a\x00b@acme.example", "", "x"])
def test_addresses_without_a_membership_leave_no_trace(world: World, address: str) -> None:
    User.objects.create_user("lone@else.example", PASSWORD)
    fail_to_sign_in("lone@else.example")
    fail_to_sign_in(address)
    for company in (world.acme, world.globex):
        assert events(company, "sign_in.failed") == []


def test_strangers_cannot_fill_a_log(world: World, settings: Settings) -> None:
    settings.FAILED_SIGN_INS_RECORDED = 3
    fail_to_sign_in("alice@acme.example", times=5)
    recorded = events(world.acme, "sign_in.failed")
    assert [item.data.get("more_not_recorded") for item in recorded] == [None, None, True]
    fail_to_sign_in("bob@acme.example")
    assert len(events(world.acme, "sign_in.failed")) == 4


def test_a_wrong_code_is_a_failed_sign_in(world: World, clock: Clock) -> None:
    set_up_account_factor(clock, "alice@acme.example")
    client = sign_in("alice@acme.example")
    client.post("/accounts/second-factor/code/", {"code": "000000"})
    (event,) = events(world.acme, "sign_in.failed")
    assert event.subject == world.acme.alice.name


def test_changes_of_the_second_factor_are_recorded_without_which(
    world: World, clock: Clock
) -> None:
    set_up_account_factor(clock, "pat@both.example")
    for company in (world.acme, world.globex):
        (on,) = {str(event.data) for event in events(company, "account.second_factor_changed")}
        assert on == str({"member": str(company.pat.pk)})


def test_switching_the_factor_off_reads_like_switching_it_on(world: World, clock: Clock) -> None:
    secret = set_up_account_factor(clock, "alice@acme.example")
    before = len(events(world.acme, "account.second_factor_changed"))
    client = sign_in("alice@acme.example")
    client.post("/accounts/second-factor/code/", {"code": clock.code(secret)})
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    client.post("/accounts/second-factor/app/off/")
    found = events(world.acme, "account.second_factor_changed")
    assert len(found) > before
    assert {str(item.data) for item in found} == {str({"member": str(world.acme.alice.pk)})}


def test_a_new_password_is_recorded(world: World) -> None:
    client = sign_in("alice@acme.example")
    new = {"password1": "grape-fresh-77", "password2": "grape-fresh-77"}
    client.post("/accounts/password/change/", {"oldpassword": PASSWORD, **new})
    (event,) = events(world.acme, "account.password_changed")
    assert event.actor_id == world.acme.alice.pk
    assert "grape-fresh-77" not in str(event.data)


def test_a_reset_link_of_the_operator_is_recorded(world: World) -> None:
    make_reset_link(world.operator, "alice@acme.example", base_url="http://localhost")
    (event,) = events(world.acme, "account.reset_link")
    assert event.actor == "operator operator@atrium.example"


def test_a_changed_profile_is_recorded_by_field(world: World) -> None:
    alice = world.acme.principal("alice")
    update_profile(alice, name=world.acme.alice.name, language="en", zone="Europe/Vienna")
    update_profile(alice, name=world.acme.alice.name, language="en", zone="Europe/Vienna")
    (event,) = events(world.acme, "profile.changed")
    assert event.data["fields"] == ["zone"]


def test_an_export_of_usage_is_recorded(world: World) -> None:
    world.acme.client("adam").get("/admin/chat/usage/export/?month=2026-11")
    (event,) = events(world.acme, "usage.exported")
    assert (event.actor_id, event.subject) == (world.acme.adam.pk, "2026-11")


def stored_file(company: Company, *, member: Any = None) -> File:
    with company.scope():
        made: File = File.objects.create(
            member=member,
            purpose="assistants",
            filename="report.txt",
            media_type="text/plain",
            bytes=5,
            storage_key=default_storage.save("files/one", ContentFile(b"words")),
            stored_at=timezone.now(),
        )
    return made


def test_downloads_of_the_companys_files_are_recorded(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path
    file = stored_file(world.acme)
    world.acme.client("adam").get(f"/admin/chat/file/{quote(file.pk)}/content/")
    headers = {"Authorization": f"Bearer {world.acme.key_secrets['olga']}"}
    assert Client(headers=headers).get(f"/v1/files/{file.pk}/content").status_code == 200
    recorded = events(world.acme, "file.downloaded")
    assert [(item.actor_id, item.subject) for item in recorded] == [
        (world.acme.adam.pk, file.pk),
        (world.acme.olga.pk, file.pk),
    ]


def test_ones_own_files_are_ones_own_affair(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path
    file = stored_file(world.acme, member=world.acme.alice)
    answer = world.acme.client("alice").get(f"/page/files/{file.pk}/content")
    assert answer.status_code == 200
    assert events(world.acme, "file.downloaded") == []


def test_admins_revoke_keys_of_members_but_see_no_secret(world: World) -> None:
    admin, key = world.acme.client("adam"), world.acme.keys["alice"]
    url = f"/admin/tenants/apikey/{key.pk}"
    page = admin.get(f"{url}/change/").content.decode()
    assert key.name in page
    assert world.acme.key_secrets["alice"] not in page
    assert key.secret_hash not in page
    admin.post(f"{url}/do/revoke/")
    with world.acme.scope():
        assert ApiKey.objects.get(pk=key.pk).revoked_at is not None


def test_admins_do_not_reach_keys_of_owners(world: World) -> None:
    admin, key = world.acme.client("adam"), world.acme.keys["olga"]
    assert str(key.pk) not in admin.get("/admin/tenants/apikey/").content.decode()
    admin.post(f"/admin/tenants/apikey/{key.pk}/do/revoke/")
    with world.acme.scope():
        assert ApiKey.objects.get(pk=key.pk).revoked_at is None


def age_sign_in(client: Client, seconds: float) -> None:
    session = client.session
    session["account_authentication_methods"] = [
        {"method": "password", "at": time.time() - seconds}
    ]
    session.save()


@pytest.mark.parametrize("path", ["/keys/", "/admin/tenants/apikey/add/"])
@pytest.mark.parametrize("without", ["old", "none"])
def test_a_key_needs_a_recent_sign_in(world: World, path: str, without: str) -> None:
    client = world.acme.client("adam")
    age_sign_in(client, 10_000)
    if without == "none":
        session = client.session
        del session["account_authentication_methods"]
        session.save()
    form = {
        "name": "Import",
        "days": "30",
        "member_id": str(world.acme.adam.pk),
        "rights": ["read"],
        "valid_for": "30",
    }
    answer = client.post(path, form)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/accounts/reauthenticate/?next=%2F")
    with world.acme.scope():
        assert not ApiKey.objects.filter(name="Import").exists()
    back = client.post(answer["Location"], {"password": PASSWORD})
    assert back["Location"] == path
    client.post(path, form)
    with world.acme.scope():
        assert ApiKey.objects.filter(name="Import").count() == 1


def test_how_recent_is_a_setting(world: World, settings: Settings) -> None:
    client = world.acme.client("alice")
    age_sign_in(client, 100)
    assert "Create key" in client.get("/keys/").content.decode()
    settings.RECENT_SIGN_IN_SECONDS = 50
    page = client.get("/keys/").content.decode()
    assert "Create key" not in page
    assert "Confirm it's you" in page


@pytest.mark.parametrize("end", ["disabled", "revoked"])
def test_a_key_that_opens_nothing_any_more_is_recorded_once_an_hour(world: World, end: str) -> None:
    owner, alice = world.acme.principal("olga"), world.acme.alice
    if end == "disabled":
        disable_member(owner, alice.pk)
    else:
        revoke_api_key(owner, world.acme.keys["alice"].pk)
    headers = {"Authorization": f"Bearer {world.acme.key_secrets['alice']}"}
    for _time in range(3):
        assert Client().get("/v1/models", headers=headers).status_code == 401
    (event,) = events(world.acme, "key.refused")
    assert (event.actor, event.subject) == ("unknown", world.acme.keys["alice"].name)
    assert event.data == {"key": str(world.acme.keys["alice"].pk), "member": str(alice.pk)}
    assert events(world.globex, "key.refused") == []


def test_a_made_up_key_leaves_no_trace(world: World) -> None:
    headers = {"Authorization": "Bearer atr_nothing"}
    assert Client().get("/v1/models", headers=headers).status_code == 401
    assert events(world.acme, "key.refused") == []


def test_sign_ins_of_operators_are_logged(world: World) -> None:
    operator = create_operator("root@ops.example", password=PASSWORD)[0]
    with structlog.testing.capture_logs() as lines:
        sign_in(operator.email)
        fail_to_sign_in(operator.email)
        wait_for_records()
    told = [(line["event"], line["user_id"]) for line in lines if "operator" in line["event"]]
    assert told == [
        ("operator_signed_in", operator.pk),
        ("operator_sign_in_failed", operator.pk),
    ]


def test_recovery_codes_that_are_shown_are_logged_and_told_to_no_company(
    world: World, clock: Clock
) -> None:
    secret = set_up_account_factor(clock, "alice@acme.example")
    client = sign_in("alice@acme.example")
    client.post("/accounts/second-factor/code/", {"code": clock.code(secret)})
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    with world.acme.scope():
        before = AuditEvent.objects.count()
    with structlog.testing.capture_logs() as lines:
        for path in ("", "file/"):
            assert client.get(f"/accounts/second-factor/recovery-codes/{path}").status_code == 200
    shown = [line["user_id"] for line in lines if line["event"] == "recovery_codes_shown"]
    assert shown == [world.acme.alice.user_id] * 2
    with world.acme.scope():
        assert AuditEvent.objects.count() == before


def test_keys_are_revoked_without_a_recent_sign_in(world: World) -> None:
    client = world.acme.client("alice")
    age_sign_in(client, 10_000)
    client.post(f"/keys/{world.acme.keys['alice'].pk}/revoke/")
    with world.acme.scope():
        assert ApiKey.objects.get(pk=world.acme.keys["alice"].pk).revoked_at is not None
