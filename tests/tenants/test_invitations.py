"""Invitations, from the admin's call to the newcomer's first page."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from tenants.actions import accept_invitation, invite, suspend_tenant, withdraw_invitation
from tenants.errors import Invalid, InvalidInvitation, NotAllowed, NotFound, SignInRequired
from tenants.models import Invitation, Membership, User
from tests.world import World, signed_in_session

NEW = {"name": "Nora", "password": "grape-fresh-77"}


def page_of(token: str) -> str:
    return f"/invitations/{token}/"


def test_newcomer_joins_and_is_signed_in(world: World) -> None:
    client = Client()
    answer = client.post(page_of(world.acme.invitation_token), NEW)
    assert answer["Location"] == "/"
    with world.acme.scope():
        joined = Membership.objects.get(pk=client.session["membership"]["id"])
    assert (joined.email, joined.name, joined.role) == ("newcomer@acme.example", "Nora", "member")


def test_newcomer_may_sign_in_with_the_password_later(world: World) -> None:
    Client().post(page_of(world.acme.invitation_token), NEW)
    client = Client()
    client.post("/accounts/login/", {"login": "newcomer@acme.example", "password": NEW["password"]})
    assert "membership" in client.session


def test_somebody_with_an_account_joins_after_signing_in(world: World) -> None:
    _row, token = invite(world.acme.principal("adam"), "gina@globex.example")
    client = world.globex.client("gina")
    client.post(page_of(token), {"name": "Gina of Globex"})
    assert client.session["membership"]["tenant"] == str(world.acme.tenant.pk)


def test_page_does_not_tell_whether_the_address_has_an_account(world: World) -> None:
    pages = []
    for address in ("gina@globex.example", "none@globex.example"):
        _row, token = invite(world.acme.principal("adam"), address)
        text = Client().get(page_of(token)).content.decode()
        text = text.replace(token, "TOKEN").replace(address, "ADDRESS")
        pages.append("\n".join(line for line in text.splitlines() if "csrf" not in line))
    assert pages[0] == pages[1]


def test_invitation_reads_the_same_for_the_admin_whoever_has_an_account(world: World) -> None:
    rows = [
        invite(world.acme.principal("adam"), address)[0]
        for address in ("gina@globex.example", "none@globex.example")
    ]
    assert [row.role for row in rows] == ["member", "member"]


def test_new_account_is_not_made_over_an_old_one(world: World) -> None:
    _row, token = invite(world.acme.principal("adam"), "gina@globex.example")
    answer = Client().post(page_of(token), NEW)
    assert answer.status_code == 400
    assert SignInRequired().message in answer.content.decode()
    user = User.objects.get(email="gina@globex.example")
    assert not user.check_password(NEW["password"])


def test_wrong_account_is_told_and_does_not_join(world: World) -> None:
    client = world.acme.client("alice")
    answer = client.post(page_of(world.globex.invitation_token), {"name": "Alice"})
    assert answer.status_code == 409
    assert "another address" in answer.content.decode()
    with world.globex.scope():
        assert not Membership.objects.filter(user=world.acme.alice.user).exists()


def test_used_link_is_gone(world: World) -> None:
    Client().post(page_of(world.acme.invitation_token), NEW)
    assert Client().get(page_of(world.acme.invitation_token)).status_code == 410


def test_withdrawn_link_is_gone(world: World) -> None:
    withdraw_invitation(world.acme.principal("adam"), world.acme.invitation.pk)
    assert Client().get(page_of(world.acme.invitation_token)).status_code == 410


def test_old_link_is_gone(world: World) -> None:
    with world.acme.scope():
        Invitation.objects.all().update(expires_at=timezone.now())
    assert Client().get(page_of(world.acme.invitation_token)).status_code == 410


def test_link_of_a_suspended_company_is_gone(world: World) -> None:
    suspend_tenant(world.operator, world.acme.tenant.pk)
    assert Client().get(page_of(world.acme.invitation_token)).status_code == 410


def test_second_invitation_ends_the_first(world: World) -> None:
    invite(world.acme.principal("adam"), "newcomer@acme.example")
    with pytest.raises(InvalidInvitation):
        accept_invitation(world.acme.invitation_token, user=None, **NEW)


@pytest.mark.parametrize("token", ["x", "%00", "%ED%A0%80", "a" * 2000, "ü", "..", "%F0%9F%98%80"])
def test_nonsense_token_is_gone_too(world: World, token: str) -> None:
    assert Client().get(f"/invitations/{token}/").status_code == 410


@pytest.mark.parametrize(
    "bad",
    [
        {"name": ""},
        {"name": "a\x00b"},
        {"name": "x" * 101},
        {"password": "short"},
        {"password": "newcomer@acme.example"},
        {"password": "a\x00aaaaaaaa1"},
        {"password": ""},
    ],
)
def test_unfit_entry_is_told_in_the_form(world: World, bad: dict[str, str]) -> None:
    answer = Client().post(page_of(world.acme.invitation_token), {**NEW, **bad})
    assert answer.status_code == 400
    assert "errorlist" in answer.content.decode()
    assert not User.objects.filter(email="newcomer@acme.example").exists()


def test_members_invite_nobody(world: World) -> None:
    with pytest.raises(NotAllowed):
        invite(world.acme.principal("alice"), "new@acme.example")


def test_admins_invite_no_owner(world: World) -> None:
    with pytest.raises(NotAllowed):
        invite(world.acme.principal("adam"), "new@acme.example", role="owner")


def test_member_is_not_invited_again(world: World) -> None:
    with pytest.raises(Invalid):
        invite(world.acme.principal("adam"), "Alice@acme.example")


def test_foreign_invitation_is_withdrawn_by_nobody_here(world: World) -> None:
    with pytest.raises(NotFound):
        withdraw_invitation(world.acme.principal("olga"), world.globex.invitation.pk)


def test_token_is_kept_as_a_hash(world: World) -> None:
    row, token = invite(world.acme.principal("adam"), "new@acme.example")
    with world.acme.scope():
        kept = Invitation.objects.filter(pk=row.pk).values().get()
    assert token not in str(kept)


def test_one_link_opened_twice_at_once_makes_one_member(world: World) -> None:
    def accept(name: str) -> bool:
        try:
            accept_invitation(
                world.acme.invitation_token, user=None, name=name, password=NEW["password"]
            )
        except (InvalidInvitation, SignInRequired):
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(accept, ("One", "Two"))) == [False, True]


def test_operator_without_company_may_be_invited(world: World) -> None:
    _row, token = invite(world.acme.principal("adam"), world.operator.email)
    session = signed_in_session(world.operator)
    session.save()
    client = world.operator_client()
    client.post(page_of(token), {"name": "Operator"})
    assert client.session["membership"]["tenant"] == str(world.acme.tenant.pk)
