"""What the watcher's one question answers, asked across tenants and answered with ids only."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from tenants import actions
from tenants.db import call_privileged
from tenants.models import ApiKey, User
from tests.world import World


def gone(world: World, *sign_ins: str) -> set[tuple[str, str]]:
    """Ask about everybody and every key of both tenants; return (kind, id) of what is over."""
    companies = (world.acme, world.globex)
    people = [person.pk for company in companies for person in company.people.values()]
    keys = [key.pk for company in companies for key in company.keys.values()]
    rows = call_privileged("watch", people, keys, list(sign_ins), [])
    return {(kind, found) for kind, found, _at in rows}


def test_nothing_is_over_at_first(world: World) -> None:
    assert gone(world, world.acme.session_key("alice")) == set()


Ending = Callable[[World], object]
ENDINGS: list[Ending] = [
    lambda world: actions.disable_member(world.acme.principal("adam"), world.acme.alice.pk),
    lambda world: User.objects.filter(email="alice@acme.example").update(is_active=False),
]


@pytest.mark.parametrize("end", ENDINGS)
def test_membership_that_opens_nothing_is_over(world: World, end: Ending) -> None:
    end(world)
    assert gone(world) == {("membership", str(world.acme.alice.pk))}


def test_removed_membership_is_over_and_signed_out(world: World) -> None:
    actions.remove_member(world.acme.principal("adam"), world.acme.pat.pk)
    assert gone(world) == {
        ("membership", str(world.acme.pat.pk)),
        ("signed_out", str(world.acme.pat.pk)),
    }


def test_suspended_company_ends_all_its_memberships_and_no_other(world: World) -> None:
    actions.suspend_tenant(world.operator, world.globex.tenant.pk)
    assert gone(world) == {
        ("membership", str(person.pk)) for person in world.globex.people.values()
    }


def test_signed_out_member_is_named_with_the_moment(world: World) -> None:
    before = timezone.now()
    actions.sign_out_member(world.acme.principal("adam"), world.acme.alice.pk)
    rows = call_privileged("watch", [world.acme.alice.pk], [], [], [])
    assert [(kind, at > before) for kind, _id, at in rows] == [("signed_out", True)]


def test_revoked_and_expired_keys_are_over(world: World) -> None:
    actions.revoke_api_key(world.acme.principal("olga"), world.acme.keys["alice"].pk)
    with world.globex.scope():
        ApiKey.objects.filter(pk=world.globex.keys["otto"].pk).update(expires_at=timezone.now())
    assert gone(world) == {
        ("key", str(world.acme.keys["alice"].pk)),
        ("key", str(world.globex.keys["otto"].pk)),
    }


def test_signing_out_ends_the_sign_in(world: World) -> None:
    client = world.acme.client("alice")
    key = client.cookies["sessionid"].value
    client.post("/accounts/logout/")
    assert gone(world, key) == {("sign_in", key)}


def test_switching_ends_the_sign_in_of_the_former_company(world: World) -> None:
    client = world.acme.client("pat")
    key = client.cookies["sessionid"].value
    client.post("/switch/", {"membership": str(world.globex.pat.pk)})
    assert gone(world, key, client.cookies["sessionid"].value) == {("sign_in", key)}


def test_new_password_ends_the_sign_ins_elsewhere(world: World) -> None:
    there = world.acme.client("alice")
    there.get("/profile/")
    link = actions.make_reset_link(world.operator, "alice@acme.example", base_url="")
    here = Client()
    form = here.get(link, follow=True).redirect_chain[-1][0]
    here.post(form, {"password1": "fresh-grape-77", "password2": "fresh-grape-77"})
    key = there.cookies["sessionid"].value
    assert gone(world, key) == {("sign_in", key)}


def test_expired_sign_in_is_over(world: World) -> None:
    key = world.acme.session_key("alice")
    Session.objects.filter(pk=key).update(expire_date=timezone.now())
    assert gone(world, key) == {("sign_in", key)}


def test_operator_who_leaves_a_company_ends_the_sockets_inside(world: World) -> None:
    client = world.operator_client()
    session = client.session
    actions.enter_tenant(world.operator, session, world.acme.tenant.pk)
    inside = str(session.session_key)
    actions.leave_tenant(world.operator, session)
    assert gone(world, inside) == {("sign_in", inside)}
