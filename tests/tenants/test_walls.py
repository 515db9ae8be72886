"""Second wall: PostgreSQL alone, with the first wall taken away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.core.checks import Error
from django.db import (
    IntegrityError,
    ProgrammingError,
    connection,
    models,
    transaction,
)
from model_bakery import baker, generators

from tenants.checks import (
    TABLES_WITHOUT_RLS,
    check_row_level_security,
    check_tenant_models,
    list_tenant_models,
)
from tenants.db import call_privileged
from tenants.managers import TenantManager, TenantModel, TenantQuerySet
from tenants.models import AuditEvent, Membership
from tenants.row_level_security import TENANT_SETTING
from tests.database import TestDatabase
from tests.world import Company, World

TABLES = [model._meta.db_table for model in list_tenant_models()]
# The factory knows Django's own types of columns only.
generators.add("chat.models.vectors.HalfVectorField", lambda: [1.0, 0.0])


@pytest.fixture
def without_first_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    """Managers that add no condition: what is left is row-level security."""
    plain = models.Manager.from_queryset(TenantQuerySet)
    monkeypatch.setattr(TenantManager, "get_queryset", plain.get_queryset)


def query(sql: str, *params: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall()) if cursor.description else []


def read_then_fail() -> None:
    list(Membership.objects.all())
    raise ZeroDivisionError


@pytest.mark.parametrize("table", TABLES)
def test_raw_query_sees_the_own_tenant_only(world: World, table: str) -> None:
    with world.acme.scope():
        tenants = query(f"SELECT DISTINCT tenant_id FROM {table}")
    assert tenants in ([], [(world.acme.tenant.pk,)])


@pytest.mark.parametrize("table", TABLES)
def test_raw_query_without_a_tenant_sees_nothing(world: World, table: str) -> None:
    with transaction.atomic():
        assert query(f"SELECT count(*) FROM {table}") == [(0,)]


def test_manager_without_its_condition_still_sees_its_own_only(
    world: World, without_first_wall: None
) -> None:
    with world.acme.scope():
        seen = {row.tenant_id for row in Membership.objects.all()}
    assert seen == {world.acme.tenant.pk}


def test_foreign_row_is_neither_changed_nor_deleted_behind_the_first_wall(
    world: World, without_first_wall: None
) -> None:
    with world.acme.scope():
        foreign = Membership.objects.filter(pk=world.globex.gina.pk)
        assert foreign.update(name="taken") == 0
        query("DELETE FROM tenants_membership WHERE id = %s", world.globex.gina.pk)
    with world.globex.scope():
        assert Membership.objects.get(pk=world.globex.gina.pk).name == world.globex.gina.name


def test_row_cannot_be_inserted_for_another_tenant(world: World) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"), world.acme.scope():
        query(
            "INSERT INTO tenants_auditevent (id, tenant_id, created_at, actor, action, subject,"
            " data) VALUES (gen_random_uuid(), %s, now(), '', '', '', '{}')",
            world.globex.tenant.pk,
        )


def test_row_cannot_be_moved_to_another_tenant(world: World) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"), world.acme.scope():
        query("UPDATE tenants_membership SET tenant_id = %s", world.globex.tenant.pk)


def test_setting_is_gone_after_commit(world: World) -> None:
    with world.acme.scope():
        list(Membership.objects.all())
    with transaction.atomic():
        assert query("SELECT current_setting(%s, true)", TENANT_SETTING)[0][0] in ("", None)


def test_setting_is_gone_after_rollback(world: World) -> None:
    with pytest.raises(ZeroDivisionError), world.acme.scope():
        read_then_fail()
    with transaction.atomic():
        assert query("SELECT count(*) FROM tenants_membership") == [(0,)]


def test_next_transaction_of_the_connection_serves_the_other_tenant(world: World) -> None:
    seen = []
    for company in (world.acme, world.globex, world.acme):
        with company.scope():
            seen.append(query("SELECT DISTINCT tenant_id FROM tenants_membership")[0][0])
    assert seen == [c.tenant.pk for c in (world.acme, world.globex, world.acme)]


def test_setting_survives_the_rollback_of_a_savepoint(world: World) -> None:
    with world.acme.scope():
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            read_then_fail()
        assert Membership.objects.count() == len(world.acme.people)


def test_setting_first_sent_inside_a_rolled_back_savepoint_is_sent_again(world: World) -> None:
    with transaction.atomic():
        with pytest.raises(ZeroDivisionError), world.acme.scope():
            read_then_fail()
        with world.acme.scope():
            assert Membership.objects.count() == len(world.acme.people)


def row_of(company: Company, model: Any) -> Any:
    """Return a row of the company, made with what it points at where the world has none."""
    with company.scope():
        found = model.objects.first()
    if found is not None:
        return found
    points_at = {name: row_of(company, related) for name, related in foreign_keys_of(model)}
    with company.scope():
        return baker.make(model, tenant=company.tenant, **points_at)


def foreign_keys_of(model: type[TenantModel]) -> list[tuple[str, type[TenantModel]]]:
    return [
        (field.name, field.related_model)
        for field in model._meta.concrete_fields
        if isinstance(field.related_model, type) and issubclass(field.related_model, TenantModel)
    ]


def foreign_keys() -> list[tuple[type[TenantModel], str]]:
    found = [
        (model, name) for model in list_tenant_models() for name, _to in foreign_keys_of(model)
    ]
    # A person has no sponsor at all: test_keys tries this one with a program's user.
    return [key for key in found if key != (Membership, "sponsor")]


@pytest.mark.parametrize(("model", "name"), foreign_keys())
def test_key_into_another_tenant_is_refused_in_raw_sql(
    world: World, model: type[TenantModel], name: str
) -> None:
    field: Any = model._meta.get_field(name)
    foreign = row_of(world.globex, field.related_model)
    row_of(world.acme, model)
    table = model._meta.db_table
    one = f"(SELECT id FROM {table} LIMIT 1)"
    with pytest.raises(IntegrityError, match="same_tenant"), world.acme.scope():
        query(f"UPDATE {table} SET {field.column} = %s WHERE id = {one}", foreign.pk)


FORBIDDEN = [
    "TRUNCATE tenants_membership",
    "ALTER TABLE tenants_membership DISABLE ROW LEVEL SECURITY",
    "DROP POLICY tenant_wall ON tenants_membership",
    "DROP TABLE tenants_membership",
    "CREATE TABLE public.elsewhere (id int)",
    "SET ROLE atrium_owner",
    "SET ROLE atrium_doors",
    "SET SESSION AUTHORIZATION atrium_owner",
    "ALTER ROLE atrium_app BYPASSRLS",
    "CREATE OR REPLACE FUNCTION doors.memberships_of(wanted bigint) RETURNS int"
    " LANGUAGE sql AS 'SELECT 1'",
    "UPDATE tenants_auditevent SET subject = ''",
    "DELETE FROM tenants_auditevent",
    "SELECT rolpassword FROM pg_authid",
    "COPY tenants_membership TO PROGRAM 'true'",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_application_role_may_not(world: World, statement: str) -> None:
    with pytest.raises(ProgrammingError), world.acme.scope():
        query(statement)


def test_row_security_off_raises_instead_of_showing_more(world: World) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"), world.acme.scope():
        query("SET LOCAL row_security = off; SELECT count(*) FROM tenants_membership")


def test_owner_of_the_tables_is_bound_too(world: World, database: TestDatabase) -> None:
    forced = database.owner.execute(
        "SELECT relname FROM pg_class WHERE relname = ANY (%s) AND NOT relforcerowsecurity"
        " AND relnamespace = 'public'::regnamespace",
        [TABLES],
    ).fetchall()
    assert forced == []


def doors(database: TestDatabase) -> list[tuple[str, str, bool, str, str]]:
    with database.cluster.connect_as_superuser(database.name) as superuser:
        return superuser.execute(
            "SELECT p.proname, pg_get_userbyid(p.proowner), p.prosecdef,"
            " array_to_string(p.proconfig, ','),"
            " pg_get_function_result(p.oid) FROM pg_proc p"
            " WHERE p.pronamespace = 'doors'::regnamespace"
        ).fetchall()


def test_doors_belong_to_the_doors_role_and_fix_their_search_path(
    world: World, database: TestDatabase
) -> None:
    found = doors(database)
    assert found
    for name, owner, definer, config, _result in found:
        assert owner == "atrium_doors", name
        assert definer, name
        assert "search_path=pg_catalog" in config, name


def test_doors_are_closed_to_public(world: World, database: TestDatabase) -> None:
    with database.cluster.connect_as_superuser(database.name) as superuser:
        superuser.execute("CREATE ROLE passer_by LOGIN")
        try:
            rows = superuser.execute(
                "SELECT proname FROM pg_proc WHERE pronamespace = 'doors'::regnamespace"
                " AND has_function_privilege('passer_by', oid, 'EXECUTE')"
            ).fetchall()
        finally:
            superuser.execute("DROP ROLE passer_by")
    assert rows == []


# The operator's list has names and counts.
MORE_THAN_IDS = {"operator_tenants"}


def test_doors_return_ids_moments_and_scores(world: World, database: TestDatabase) -> None:
    with database.cluster.connect_as_superuser(database.name) as superuser:
        rows = superuser.execute(
            "SELECT proname, proargnames[pronargs + 1:] FROM pg_proc"
            " WHERE pronamespace = 'doors'::regnamespace"
        ).fetchall()
    for name, columns in rows:
        if name not in MORE_THAN_IDS:
            wordy = [
                column
                for column in columns
                if column not in ("id", "at", "kind", "score") and not column.endswith("_id")
            ]
            assert wordy == [], name


def test_door_of_sign_in_names_both_memberships(world: World) -> None:
    rows = call_privileged("memberships_of", world.acme.pat.user_id)
    assert set(rows) == {
        (company.pat.pk, company.tenant.pk) for company in (world.acme, world.globex)
    }


def test_doors_role_reads_only_its_columns(world: World, database: TestDatabase) -> None:
    with database.cluster.connect_as_superuser(database.name) as superuser:
        superuser.execute("SET ROLE atrium_doors")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            superuser.execute("SELECT name FROM tenants_membership")


def test_checks_pass_as_the_suite_runs(world: World) -> None:
    assert [*check_tenant_models(), *check_row_level_security(databases=["default"])] == []


def ids_of(found: list[Any]) -> set[str]:
    assert all(isinstance(message, Error) for message in found)
    return {message.id for message in found}


def test_check_finds_a_table_without_forced_row_security(
    world: World, database: TestDatabase
) -> None:
    table = "tenants_apikey"
    database.owner.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    try:
        found = check_row_level_security(databases=["default"])
    finally:
        database.owner.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    assert ids_of(found) == {"tenants.E012"}


def test_check_finds_a_table_that_nobody_listed(world: World, database: TestDatabase) -> None:
    database.owner.execute("CREATE TABLE forgotten (id int)")
    try:
        found = check_row_level_security(databases=["default"])
    finally:
        database.owner.execute("DROP TABLE forgotten")
    assert ids_of(found) == {"tenants.E012"}


def test_check_finds_a_role_that_is_too_strong(world: World, database: TestDatabase) -> None:
    database.owner.execute("SELECT 1")
    with database.cluster.connect_as_superuser() as superuser:
        superuser.execute("ALTER ROLE atrium_app BYPASSRLS")
        try:
            found = check_row_level_security(databases=["default"])
        finally:
            superuser.execute("ALTER ROLE atrium_app NOBYPASSRLS")
    assert ids_of(found) == {"tenants.E011"}


def test_list_of_tables_outside_the_wall_names_no_stranger(
    world: World, database: TestDatabase
) -> None:
    rows = database.owner.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'p')"
    ).fetchall()
    assert set(TABLES_WITHOUT_RLS) <= {name for (name,) in rows}


@pytest.fixture
def lone_registry() -> Iterator[None]:
    """Models made by a test are forgotten after it."""
    before = dict(apps.all_models["tenants"])
    yield
    apps.all_models["tenants"].clear()
    apps.all_models["tenants"].update(before)
    apps.clear_cache()


def test_check_finds_a_tenant_model_without_the_base(lone_registry: None) -> None:
    class Loose(models.Model):
        tenant = models.ForeignKey("tenants.Tenant", on_delete=models.CASCADE, related_name="+")

        class Meta:
            app_label = "tenants"

        def __str__(self) -> str:
            return ""

    assert ids_of(check_tenant_models()) == {"tenants.E001"}


def test_check_finds_a_model_that_can_be_read_outside_the_scope(lone_registry: None) -> None:
    class Open(TenantModel):
        objects = models.Manager()  # type: ignore[assignment]

        class Meta(TenantModel.Meta):
            app_label = "tenants"

        def __str__(self) -> str:
            return ""

    assert "tenants.E002" in ids_of(check_tenant_models())


def test_check_finds_a_key_without_its_composite(lone_registry: None) -> None:
    class Pointing(TenantModel):
        member = models.ForeignKey(Membership, on_delete=models.CASCADE, related_name="+")

        class Meta(TenantModel.Meta):
            app_label = "tenants"

        def __str__(self) -> str:
            return ""

    assert ids_of(check_tenant_models()) == {"tenants.E003", "tenants.E004"}


def test_audit_events_can_be_added_and_read(world: World) -> None:
    with world.acme.scope():
        assert AuditEvent.objects.count() == 1


def company_of(world: World, slug: str) -> Company:
    return {"acme": world.acme, "globex": world.globex}[slug]


@pytest.mark.parametrize(("mine", "other"), [("acme", "globex"), ("globex", "acme")])
def test_no_canary_crosses_row_security(
    world: World, without_first_wall: None, mine: str, other: str
) -> None:
    seen = []
    with company_of(world, mine).scope():
        for table in TABLES:
            seen += query(f"SELECT t::text FROM {table} t")
    text = str(seen)
    assert company_of(world, mine).canary in text
    assert company_of(world, other).canary not in text
