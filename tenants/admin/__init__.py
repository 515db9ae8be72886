"""Admin site, and the base class of admin pages for tenant-scoped models."""

from __future__ import annotations

from tenants.admin.scoped import Button, TenantForm, TenantScopedAdmin
from tenants.admin.site import (
    AtriumAdminSite,
    ExtraPage,
    Group,
    get_principal,
    is_admin,
    is_operator,
    is_owner,
    site,
)

__all__ = [
    "AtriumAdminSite",
    "Button",
    "ExtraPage",
    "Group",
    "TenantForm",
    "TenantScopedAdmin",
    "get_principal",
    "is_admin",
    "is_operator",
    "is_owner",
    "site",
]
