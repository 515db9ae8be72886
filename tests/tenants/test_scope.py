"""First wall: the scope."""

from __future__ import annotations

import pytest
from django.db import transaction

from tenants.models import Membership
from tenants.scope import TenantScopeError, tenant_scope
from tests.world import World


def test_query_without_a_scope_raises_when_it_runs(world: World) -> None:
    query = Membership.objects.filter(role="owner")
    with transaction.atomic(), pytest.raises(TenantScopeError):
        list(query)


def test_scope_shows_its_own_rows(world: World) -> None:
    with world.acme.scope():
        assert {row.pk for row in Membership.objects.all()} == {
            person.pk for person in world.acme.people.values()
        }


def test_query_outside_a_transaction_raises(world: World) -> None:
    with tenant_scope(world.acme.tenant.pk), pytest.raises(TenantScopeError):
        Membership.objects.exists()
