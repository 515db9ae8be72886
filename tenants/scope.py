"""The current tenant, kept in a ContextVar; ORM scoping is based on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID


class TenantScopeError(RuntimeError):
    """Access to tenant data without a tenant scope, without a transaction, or of another tenant."""


_tenant_id: ContextVar[UUID | None] = ContextVar("atrium_tenant_id", default=None)


@contextmanager
def tenant_scope(tenant_id: UUID) -> Iterator[None]:
    """Make `tenant_id` the tenant of every query in this context.

    Scopes nest, but the tenant must not change inside an open transaction
    (`tenants.db` raises TenantScopeError).
    """
    token = _tenant_id.set(tenant_id)
    try:
        yield
    finally:
        _tenant_id.reset(token)


def get_scoped_tenant_id() -> UUID | None:
    """Return the tenant in scope, or None outside any scope."""
    return _tenant_id.get()


def require_tenant_id() -> UUID:
    """Return the tenant in scope.

    Raises:
        TenantScopeError: There is no scope; there is no default tenant.
    """
    tenant_id = _tenant_id.get()
    if tenant_id is None:
        raise TenantScopeError("Tenant-scoped query executed without an active tenant scope.")
    return tenant_id
