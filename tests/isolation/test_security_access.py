"""Attacks on the access decision: keys, addresses that look alike, leavers, stale tabs."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.conf import settings
from django.test import Client

from tenants.actions import (
    accept_invitation,
    change_role,
    disable_member,
    find_invitation,
    invite,
    make_reset_link,
    remove_member,
)
from tenants.authentication import Principal, authenticate_key
from tenants.errors import AccessDenied, InvalidInvitation, NotFound
from tenants.models import Membership, User
from tests.world import World

# PostgreSQL's upper() makes I of both.
LOOKS_ALIKE = "al\u0131ce@acme.example"


def test_key_of_a_closed_account_opens_nothing(world: World) -> None:
    User.objects.filter(email="alice@acme.example").update(is_active=False)
    with pytest.raises(AccessDenied):
        authenticate_key(world.acme.key_secrets["alice"])


def test_reset_link_is_not_made_for_an_address_that_looks_alike(world: World) -> None:
    with pytest.raises(NotFound):
        make_reset_link(world.operator, LOOKS_ALIKE, base_url="http://localhost")


def test_address_that_looks_alike_signs_nobody_in(world: World) -> None:
    with pytest.raises(User.DoesNotExist):
        User.objects.get_by_natural_key(LOOKS_ALIKE)


def test_address_that_looks_alike_gets_an_account_of_its_own(world: World) -> None:
    _row, token = invite(world.globex.principal("greta"), LOOKS_ALIKE)
    Client().post(f"/invitations/{token}/", {"name": "A", "password": "grape-fresh-77"})
    with world.globex.scope():
        joined = Membership.objects.get(email=LOOKS_ALIKE)
    assert joined.user_id != world.acme.alice.user_id


def _token_of(page: bytes) -> str:
    found = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert found is not None
    return found[1].decode()


def _strict_client(world: World, name: str) -> Client:
    client = Client(enforce_csrf_checks=True)
    client.cookies[settings.SESSION_COOKIE_NAME] = world.acme.session_key(name)
    return client


def test_form_of_the_former_company_does_nothing_in_the_new_one(world: World) -> None:
    tab = _strict_client(world, "pat")
    token = _token_of(tab.get("/profile/").content)
    tab.post("/switch/", {"membership": str(world.globex.pat.pk), "csrfmiddlewaretoken": token})
    form = {"name": "Other", "language": "en", "zone": "UTC", "csrfmiddlewaretoken": token}
    assert tab.post("/profile/", form).status_code == 403
    with world.globex.scope():
        assert Membership.objects.get(pk=world.globex.pat.pk).name == world.globex.pat.name


def test_operators_form_of_one_company_does_nothing_in_another(world: World) -> None:
    tab = Client(enforce_csrf_checks=True)
    tab.cookies = world.operator_client().cookies
    token = _token_of(tab.get("/admin/companies/").content)
    enter = "/admin/companies/{}/enter/"
    first = tab.post(enter.format(world.acme.tenant.pk), {"csrfmiddlewaretoken": token})
    second = tab.post(enter.format(world.globex.tenant.pk), {"csrfmiddlewaretoken": token})
    assert (first.status_code, second.status_code) == (302, 403)


@pytest.mark.parametrize("verb", [disable_member, remove_member])
def test_leaver_keeps_no_invitation_to_come_back_by(
    world: World, verb: Callable[..., Membership]
) -> None:
    _row, token = invite(world.acme.principal("adam"), "adam-again@acme.example", role="admin")
    verb(world.acme.principal("olga"), world.acme.adam.pk)
    with pytest.raises(InvalidInvitation):
        find_invitation(token)


def test_keys_of_a_removed_member_stay_dead_when_they_come_back(world: World) -> None:
    olga = world.acme.principal("olga")
    remove_member(olga, world.acme.alice.pk)
    _row, token = invite(olga, "alice@acme.example")
    accept_invitation(token, user=world.acme.alice.user, name="Alice")
    with pytest.raises(AccessDenied):
        authenticate_key(world.acme.key_secrets["alice"])


def test_former_owner_keeps_no_invitation_of_an_owner(world: World) -> None:
    change_role(world.acme.principal("olga"), world.acme.adam.pk, role="owner")
    with world.acme.scope():
        adam = Membership.objects.get(pk=world.acme.adam.pk)
    owner = Principal(tenant=world.acme.tenant, membership=adam, role="owner")
    _row, as_owner = invite(owner, "one@acme.example", role="owner")
    _row, as_member = invite(owner, "two@acme.example")
    change_role(world.acme.principal("olga"), adam.pk, role="admin")
    with pytest.raises(InvalidInvitation):
        find_invitation(as_owner)
    assert find_invitation(as_member).email == "two@acme.example"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/profile/",
        "/companies/",
        "/page/threads",
        "/page/assistants",
        "/admin/",
        "/accounts/logout/",
        "/accounts/password/change/",
        "/accounts/second-factor/",
        "/accounts/sign-ins/",
        "/nothing-here",
    ],
)
def test_no_cache_keeps_what_the_signed_in_get(world: World, path: str) -> None:
    answer = world.acme.client("adam").get(path)
    assert {"no-store", "private"} <= set(answer["Cache-Control"].split(", "))


def test_no_cache_keeps_what_a_program_gets(world: World) -> None:
    secret = world.acme.key_secrets["alice"]
    answer = Client().get("/page/threads", headers={"Authorization": f"Bearer {secret}"})
    assert "no-store" in answer["Cache-Control"]


def test_style_sheet_of_a_colour_may_be_kept_by_every_cache(world: World) -> None:
    answer = world.acme.client("adam").get("/page/theme/2563eb.css")
    assert "public" in answer["Cache-Control"]
