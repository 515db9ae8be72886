"""Reads whose SQL is written once: the same rows, behind the same walls."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import transaction
from django.db.models import F, QuerySet

from chat.models import Thread
from tenants.checks import check_compiled_queries
from tenants.compiled_queries import AnyOf, CompiledQuery, compile_queries
from tenants.models import Membership
from tenants.scope import TenantScopeError, tenant_scope
from tests.world import World


@CompiledQuery
def by_role(reverse: bool, *, role: Any) -> QuerySet[Membership]:
    rows: QuerySet[Membership] = Membership.objects.select_related("tenant").filter(role=role)
    return rows.order_by("-name" if reverse else "name")


@CompiledQuery
def among(*, chosen: Any) -> QuerySet[Membership]:
    rows: QuerySet[Membership] = Membership.objects.filter(AnyOf(F("id"), chosen))
    return rows


@CompiledQuery
def threads_of(*, principal: Any) -> QuerySet[Thread]:
    rows: QuerySet[Thread] = Thread.objects.visible_to(principal)
    return rows


def test_written_read_returns_what_the_query_does(world: World) -> None:
    with world.acme.scope():
        for role in ("member", "owner", "member"):
            for reverse in (True, False):
                found = by_role.read(reverse, role=role)
                assert found == list(by_role.build(reverse, role=role)) != []
                assert {row.tenant.name for row in found} == {world.acme.tenant.name}


def test_sql_is_written_once_for_each_shape(
    world: World, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    with world.acme.scope():
        by_role.read(True, role="member")
        monkeypatch.setattr(by_role, "build", None)
        with django_assert_num_queries(1):
            by_role.read(True, role="owner")
        with pytest.raises(TypeError):
            by_role.read("another shape", role="owner")


def test_what_has_one_shape_is_written_ahead(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    @CompiledQuery
    def named(*, name: Any, kept: Any = None) -> QuerySet[Membership]:
        rows: QuerySet[Membership] = Membership.objects.filter(name=name)
        return rows

    compile_queries()
    monkeypatch.setattr(named, "build", None)
    name = world.acme.people["alice"].name
    with world.acme.scope():
        assert [item.name for item in named.read(name=name)] == [name]


def test_each_tenant_gets_its_own_rows_of_one_read(world: World) -> None:
    everybody = [
        person.pk for company in (world.acme, world.globex) for person in company.people.values()
    ]
    for company in (world.acme, world.globex):
        with company.scope():
            found = {row.pk for row in among.read(chosen=everybody)}
        assert found == {person.pk for person in company.people.values()}


def test_list_of_values_may_have_any_length(world: World) -> None:
    with world.acme.scope():
        assert among.read(chosen=[]) == []
        assert among.first(chosen=[world.acme.alice.pk]) == world.acme.alice
        assert among.first(chosen=[world.globex.gina.pk]) is None


def test_plain_querysets_return_the_same_rows(world: World, settings: Any) -> None:
    everybody = [person.pk for person in world.acme.people.values()]
    reads: list[Callable[[], list[Any]]] = [
        partial(by_role.read, True, role="member"),
        partial(among.read, chosen=everybody),
        partial(threads_of.read, principal=world.acme.principal("alice")),
    ]
    with world.acme.scope():
        compiled = [read() for read in reads]
        settings.COMPILED_QUERIES = False
        assert [read() for read in reads] == compiled
        assert all(compiled)
    with transaction.atomic(), pytest.raises(TenantScopeError):
        reads[0]()


def test_a_django_version_that_was_not_tested_is_refused(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check_compiled_queries() == []
    monkeypatch.setattr("django.VERSION", (7, 3, 0, "final", 0))
    assert [error.id for error in check_compiled_queries()] == ["tenants.E020"]
    settings.COMPILED_QUERIES = False
    assert check_compiled_queries() == []


def test_principal_gets_their_own_rows(world: World) -> None:
    with world.acme.scope():
        for name in ("alice", "bob"):
            found = threads_of.read(principal=world.acme.principal(name))
            assert {row.member_id for row in found} == {world.acme.people[name].pk}


def test_written_read_without_a_scope_raises(world: World) -> None:
    with world.acme.scope():
        by_role.read(False, role="owner")
    with transaction.atomic(), pytest.raises(TenantScopeError):
        by_role.read(False, role="owner")


def test_written_read_outside_a_transaction_raises(world: World) -> None:
    with world.acme.scope():
        by_role.read(False, role="owner")
    with tenant_scope(world.acme.tenant.pk), pytest.raises(TenantScopeError):
        by_role.read(False, role="owner")


def test_values_are_values_and_no_sql(world: World) -> None:
    with world.acme.scope():
        assert by_role.read(False, role="' OR true --%s") == []
