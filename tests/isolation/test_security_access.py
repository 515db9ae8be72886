"""Attacks on the access decision: keys, addresses that look alike, leavers, stale tabs."""

from __future__ import annotations

import pytest
from django.test import Client

from tenants.access import principal_for_key
from tenants.actions import invite, make_reset_link
from tenants.errors import AccessDenied, NotFound
from tenants.models import Membership, User
from tests.world import World

# PostgreSQL's upper() makes I of both.
LOOKS_ALIKE = "al\u0131ce@acme.example"


def test_key_of_a_closed_account_opens_nothing(world: World) -> None:
    User.objects.filter(email="alice@acme.example").update(is_active=False)
    with pytest.raises(AccessDenied):
        principal_for_key(world.acme.key_secrets["alice"])


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
