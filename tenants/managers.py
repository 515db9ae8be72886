"""ORM scoping: tenant models read the tenant in scope and raise an error without a scope."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar
from uuid import UUID

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.expressions import Expression

from tenants.scope import TenantScopeError, require_tenant_id

if TYPE_CHECKING:
    from django.db.models.sql.compiler import SQLCompiler

M = TypeVar("M", bound="TenantModel", covariant=True)


class CurrentTenant(Expression):
    """The tenant in scope when the SQL is compiled, not when the query is built.

    ModelForms and FilterSets build their querysets at import time, so the check must wait until
    the query runs.
    """

    output_field = models.UUIDField()

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, tuple[Any, ...]]:
        """Emit the id of the tenant in scope as a parameter."""
        return "%s::uuid", (self.value(connection),)

    @staticmethod
    def value(connection: BaseDatabaseWrapper) -> UUID:
        """Return the tenant in scope.

        Raises:
            TenantScopeError: There is no scope, or no transaction.
        """
        tenant_id = require_tenant_id()
        if not connection.in_atomic_block:
            # Row-level security reads a transaction-local setting: outside a
            # transaction every table would look empty instead of failing.
            raise TenantScopeError("Tenant-scoped query executed outside a transaction.")
        return tenant_id


class TenantQuerySet(models.QuerySet[M]):
    """Rows of the tenant in scope; new rows get this tenant."""

    def bulk_create(self, objs: Iterable[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Set the tenant of each row like `TenantModel.save`, then insert them.

        Raises:
            TenantScopeError: There is no scope, or a row belongs to another tenant.
        """
        rows = list(objs)
        for row in rows:
            row.stamp_tenant()
        return super().bulk_create(rows, *args, **kwargs)


class TenantManager(models.Manager.from_queryset(TenantQuerySet)):  # type: ignore[misc]
    """Manager that filters every queryset by tenant, including relations and refreshes."""

    def get_queryset(self) -> TenantQuerySet[Any]:
        """Return the rows of the tenant that is in scope when they are read."""
        queryset: TenantQuerySet[Any] = super().get_queryset()
        return queryset.filter(tenant_id=CurrentTenant())

    @classmethod
    def of(cls, queryset_class: type[models.QuerySet[Any]]) -> Self:
        """Return a manager with the methods of `queryset_class`, a TenantQuerySet."""
        manager: Self = cls.from_queryset(queryset_class)()
        return manager


class TenantModel(models.Model):
    """A row that belongs to one tenant.

    Subclasses inherit Meta, list `*build_tenant_constraints(...)` in their constraints, and
    have `tenants.row_level_security.EnableRowLevelSecurity` in a migration; a system
    check requires all three.
    """

    tenant = models.ForeignKey(
        "tenants.Tenant", on_delete=models.PROTECT, editable=False, db_index=False, related_name="+"
    )

    objects: ClassVar[TenantManager] = TenantManager()

    class Meta:
        abstract = True
        base_manager_name = "objects"
        default_manager_name = "objects"

    def stamp_tenant(self) -> None:
        """Set the tenant in scope on a new row.

        Raises:
            TenantScopeError: There is no scope, or the row belongs to another tenant.
        """
        tenant_id = require_tenant_id()
        own: UUID | None = self.tenant_id
        if own is None:
            self.tenant_id = tenant_id
        elif own != tenant_id:
            raise TenantScopeError("Cannot save a row of another tenant in this scope.")

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save in the tenant in scope; raises the same errors as `stamp_tenant`."""
        self.stamp_tenant()
        super().save(*args, **kwargs)
