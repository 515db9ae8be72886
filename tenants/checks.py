"""System checks of tenant isolation: ORM scoping, composite keys and row-level security."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import django
from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.db import DatabaseError, connections, models

from tenants.compiled_queries import TESTED_DJANGO
from tenants.constraints import TenantForeignKey, TenantKey
from tenants.managers import TenantManager, TenantModel
from tenants.row_level_security import APP

# Tables without row-level security, each with its reason. They hold no tenant content.
TABLES_WITHOUT_RLS = {
    "account_emailaddress": "addresses of users, who may be in several tenants",
    "account_emailconfirmation": "links sent to addresses",
    "auth_group": "unused; Django's own",
    "auth_group_permissions": "unused; Django's own",
    "auth_permission": "names of models",
    "chat_process": "heartbeats of server processes",
    "django_content_type": "names of models",
    "django_migrations": "names of migrations",
    "django_session": "sign-ins: signed ids only",
    "mfa_authenticator": "second factors of users",
    "procrastinate_events": "job history: ids only",
    "procrastinate_jobs": "jobs: ids only",
    "procrastinate_periodic_defers": "job schedule",
    "procrastinate_workers": "worker heartbeats",
    "tenants_user": "people: e-mail, password hash and flags only",
    "tenants_user_groups": "unused; Django's own",
    "tenants_user_user_permissions": "unused; Django's own",
    "usersessions_usersession": "where a user is signed in",
}


def check_compiled_queries(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Check that compiled queries run only on Django versions they were tested with."""
    if not settings.COMPILED_QUERIES or django.VERSION[:2] in TESTED_DJANGO:
        return []
    return [
        Error(
            f"Compiled queries were not tested with Django {django.get_version()}.",
            hint="Set ATRIUM_COMPILED_QUERIES=0 to run plain queries, which are slower.",
            id="tenants.E020",
        )
    ]


def list_tenant_models() -> list[type[TenantModel]]:
    """Return every concrete tenant model of the project."""
    return [model for model in apps.get_models() if issubclass(model, TenantModel)]


def check_tenant_models(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Check that each model with a tenant column has ORM scoping and composite keys."""
    errors: list[CheckMessage] = []
    for model in apps.get_models():
        if any(
            field.related_model is _get_tenant_model()
            for field in model._meta.get_fields()
            if field.concrete
        ):
            errors.extend(_check_model(model))
    return errors


def _get_tenant_model() -> type[models.Model]:
    return apps.get_model("tenants", "Tenant")


def _check_model(model: type[models.Model]) -> Iterator[CheckMessage]:
    label = model._meta.label
    if not issubclass(model, TenantModel):
        yield Error(f"{label} has a tenant but is not a TenantModel.", id="tenants.E001", obj=model)
        return
    for manager in (model._default_manager, model._base_manager):
        if not isinstance(manager, TenantManager):
            yield Error(
                f"{label} can be read without a tenant scope.", id="tenants.E002", obj=model
            )
    constraints = model._meta.constraints
    if not any(isinstance(constraint, TenantKey) for constraint in constraints):
        yield Error(f"{label} has no TenantKey.", id="tenants.E003", obj=model)
    composite = {c.field for c in constraints if isinstance(c, TenantForeignKey)}
    for field in model._meta.concrete_fields:
        related = field.related_model
        if (
            isinstance(related, type)
            and issubclass(related, TenantModel)
            and field.name not in composite
        ):
            yield Error(
                f"{label}.{field.name} has no TenantForeignKey.", id="tenants.E004", obj=model
            )


def check_row_level_security(
    app_configs: Sequence[AppConfig] | None = None,
    databases: Sequence[str] | None = None,
    **kwargs: Any,
) -> list[CheckMessage]:
    """Check that row-level security is forced on every table and binds the database role."""
    if "default" not in (databases or ()):
        return []
    try:
        return [*_check_role(), *_check_tables()]
    except DatabaseError as error:
        return [Error(f"Row-level security could not be checked: {error}", id="tenants.E010")]


def _check_role() -> Iterator[CheckMessage]:
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT rolsuper OR rolbypassrls, "
            "EXISTS (SELECT FROM pg_class WHERE relowner = r.oid), "
            "EXISTS (SELECT FROM pg_auth_members WHERE member = r.oid) "
            "FROM pg_roles r WHERE rolname = current_user"
        )
        too_strong, owns, member = cursor.fetchone()
    if too_strong or owns or member:
        yield Error(
            "Row-level security does not apply to the application's database role.",
            hint=f"DATABASE_URL must use role {APP}: no superuser, no BYPASSRLS, no owned tables.",
            id="tenants.E011",
        )


def _check_tables() -> Iterator[CheckMessage]:
    with connections["default"].cursor() as cursor:
        cursor.execute(
            # Policies are combined with OR, so a second policy for the application's role would
            # disable the first. A view reads with its owner's rights, which bypasses policies.
            "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity AND EXISTS "
            "(SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'tenant_wall') "
            "AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid "
            "AND p.polname <> 'tenant_wall' AND p.polroles && ARRAY[0::oid, r.oid]) "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "JOIN pg_roles r ON r.rolname = current_user "
            "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'm', 'v', 'f') "
            "AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')"
        )
        protected = dict(cursor.fetchall())
    for table, is_protected in protected.items():
        if not is_protected and table not in TABLES_WITHOUT_RLS:
            yield Error(f"Table {table} has no row-level security.", id="tenants.E012")
