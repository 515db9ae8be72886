"""The page of one's own API keys."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from tenants.actions import revoke_api_key
from tenants.authentication import authenticate_key
from tenants.errors import AccessDenied
from tenants.models import ApiKey
from tests.world import World

SECRET = re.compile(r"atr_\w{54}")


def make(client: Client, **form: str) -> str:
    """Make a key and return its secret."""
    page = client.post("/keys/", {"name": "Import", "days": "30", **form})
    found = SECRET.search(page.content.decode())
    assert found is not None
    return found[0]


def test_member_makes_a_key_of_their_own_that_is_shown_once(world: World) -> None:
    client = world.acme.client("bob")
    secret = make(client)
    assert authenticate_key(secret).membership_id == world.acme.bob.pk
    page = client.get("/keys/").content.decode()
    assert ("Import" in page, secret in page) == (True, False)


def test_key_ends_after_the_days_asked_for(world: World) -> None:
    make(world.acme.client("bob"))
    with world.acme.scope():
        key = ApiKey.objects.get(name="Import")
    assert key.expires_at is not None
    assert timedelta(days=29) < key.expires_at - timezone.now() <= timedelta(days=30)


def test_a_key_too_many_is_refused_in_a_sentence(world: World, settings: Settings) -> None:
    settings.KEYS_PER_MEMBER = 1
    page = world.acme.client("alice").post("/keys/", {"name": "Import", "days": "30"})
    assert page.status_code == 400
    assert "has reached the limit of 1 API keys" in page.content.decode()


def test_member_revokes_their_key(world: World) -> None:
    client = world.acme.client("alice")
    client.post(f"/keys/{world.acme.keys['alice'].pk}/revoke/")
    with pytest.raises(AccessDenied):
        authenticate_key(world.acme.key_secrets["alice"])
    assert str(world.acme.keys["alice"].pk) not in client.get("/keys/").content.decode()


def test_page_shows_ones_own_keys_only_owners_too(world: World) -> None:
    page = world.acme.client("olga").get("/keys/").content.decode()
    assert str(world.acme.keys["olga"].pk) in page
    assert str(world.acme.keys["alice"].pk) not in page


def test_key_that_is_over_is_not_listed(world: World) -> None:
    revoke_api_key(world.acme.principal("olga"), world.acme.keys["olga"].pk)
    page = world.acme.client("olga").get("/keys/").content.decode()
    assert str(world.acme.keys["olga"].pk) not in page


@pytest.mark.parametrize(("name", "acts"), [("adam", True), ("alice", False)])
def test_admins_alone_may_let_a_key_act_for_users(world: World, name: str, acts: bool) -> None:
    secret = make(world.acme.client(name), act_for_users="on")
    key = authenticate_key(secret).key
    assert key is not None
    assert ("act_for_users" in key.scopes) is acts


@pytest.mark.parametrize("form", [{"name": ""}, {"name": "a\x00b"}, {"days": "31"}, {"days": "-1"}])
def test_unfit_form_makes_no_key(world: World, form: dict[str, str]) -> None:
    data = {"name": "Import", "days": "30", **form}
    assert world.acme.client("bob").post("/keys/", data).status_code == 400
    with world.acme.scope():
        assert not ApiKey.objects.filter(membership=world.acme.bob).exists()


def test_keys_open_no_page_of_keys(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.acme.key_secrets['alice']}"}
    assert Client(headers=headers).get("/keys/").status_code == 302
