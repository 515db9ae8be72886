"""First wall: the scope."""

from __future__ import annotations

import uuid

import pytest
from django import forms
from django.db import transaction

from tenants.db import in_db
from tenants.models import ApiKey, Membership, Tenant
from tenants.scope import TenantScopeError, require_tenant_id, tenant_scope
from tests.world import World


def test_query_without_a_scope_raises_when_it_runs(world: World) -> None:
    query = Membership.objects.filter(role="owner")
    with transaction.atomic(), pytest.raises(TenantScopeError):
        list(query)


def test_form_field_built_outside_a_scope_works_inside_one(world: World) -> None:
    field = forms.ModelChoiceField(Membership.objects.all())
    with world.acme.scope():
        assert field.clean(str(world.acme.alice.pk)) == world.acme.alice


def test_scope_shows_its_own_rows(world: World) -> None:
    with world.acme.scope():
        assert {row.pk for row in Membership.objects.all()} == {
            person.pk for person in world.acme.people.values()
        }


def test_query_outside_a_transaction_raises(world: World) -> None:
    with tenant_scope(world.acme.tenant.pk), pytest.raises(TenantScopeError):
        Membership.objects.exists()


def test_foreign_key_is_unknown_to_queries(world: World) -> None:
    with world.acme.scope(), pytest.raises(Membership.DoesNotExist):
        Membership.objects.get(pk=world.globex.gina.pk)


def test_foreign_key_is_unknown_to_forms(world: World) -> None:
    field = forms.ModelChoiceField(Membership.objects.all())
    with world.acme.scope(), pytest.raises(forms.ValidationError):
        field.clean(str(world.globex.gina.pk))


def test_relation_is_followed_within_the_scope_only(world: World) -> None:
    key = ApiKey(membership_id=world.globex.gina.pk)
    with world.acme.scope(), pytest.raises(Membership.DoesNotExist):
        _ = key.membership


def test_update_and_delete_reach_own_rows_only(world: World) -> None:
    with world.acme.scope():
        assert Membership.objects.filter(pk=world.globex.gina.pk).update(name="x") == 0
        assert ApiKey.objects.filter(pk=world.globex.keys["gina"].pk).delete()[0] == 0


def test_new_row_gets_the_tenant_in_scope(world: World) -> None:
    with world.acme.scope():
        made = Membership.objects.create(kind="program", name="X")
    assert made.tenant_id == world.acme.tenant.pk


def test_row_of_another_tenant_is_not_saved(world: World) -> None:
    with world.acme.scope(), pytest.raises(TenantScopeError):
        world.globex.gina.save()


def test_bulk_create_refuses_another_tenants_row(world: World) -> None:
    row = Membership(tenant=world.globex.tenant, kind="program", name="X")
    with world.acme.scope(), pytest.raises(TenantScopeError):
        Membership.objects.bulk_create([row])


def test_tenant_table_shows_the_own_row(world: World) -> None:
    with world.acme.scope():
        assert list(Tenant.objects.values_list("slug", flat=True)) == ["acme"]


def test_scope_may_not_change_inside_a_transaction(world: World) -> None:
    with world.acme.scope():
        list(Membership.objects.all())
        with tenant_scope(world.globex.tenant.pk), pytest.raises(TenantScopeError):
            list(Membership.objects.all())


def test_scope_ends_with_its_block(world: World) -> None:
    with world.acme.scope():
        pass
    with pytest.raises(TenantScopeError):
        require_tenant_id()


def test_scope_ends_when_its_block_raises() -> None:
    with pytest.raises(ZeroDivisionError), tenant_scope(uuid.uuid4()):
        _ = 1 / 0
    with pytest.raises(TenantScopeError):
        require_tenant_id()


def names() -> set[str]:
    with transaction.atomic():
        return {row.name for row in Membership.objects.all()}


async def test_database_executor_reads_in_the_callers_scope(world: World) -> None:
    with tenant_scope(world.globex.tenant.pk):
        found = await in_db(names)
    assert found == {person.name for person in world.globex.people.values()}


async def test_database_executor_keeps_no_scope(world: World) -> None:
    with tenant_scope(world.globex.tenant.pk):
        await in_db(names)
    with pytest.raises(TenantScopeError):
        await in_db(names)
