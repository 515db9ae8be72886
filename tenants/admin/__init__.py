"""The admin site, and the base of every admin page that shows a tenant's rows."""

from __future__ import annotations

from tenants.admin.scoped import Button, TenantForm, TenantScopedAdmin
from tenants.admin.site import (
    AtriumAdminSite,
    ExtraPage,
    Group,
    is_admin,
    is_operator,
    is_owner,
    principal_of,
    site,
)

__all__ = [
    "AtriumAdminSite",
    "Button",
    "ExtraPage",
    "Group",
    "TenantForm",
    "TenantScopedAdmin",
    "is_admin",
    "is_operator",
    "is_owner",
    "principal_of",
    "site",
]
