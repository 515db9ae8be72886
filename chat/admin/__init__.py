"""Admin pages; importing this package registers them on the site."""

from __future__ import annotations

from chat.admin import (
    assistants,
    audit_log,
    collections,
    companies,
    company_settings,
    documents,
    files,
    keys,
    limits,
    overview,
    people,
    runs,
    threads,
    usage,
)
from tenants.admin import site

__all__ = [
    "assistants",
    "audit_log",
    "collections",
    "companies",
    "company_settings",
    "documents",
    "files",
    "keys",
    "limits",
    "overview",
    "people",
    "runs",
    "site",
    "threads",
    "usage",
]
