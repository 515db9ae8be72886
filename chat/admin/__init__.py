"""Admin pages; importing this package registers them on the site."""

from __future__ import annotations

from chat.admin import (
    assistants,
    chats,
    companies,
    company,
    documents,
    files,
    keys,
    knowledge,
    limits,
    overview,
    people,
    runs,
    trail,
    usage,
)
from tenants.admin import site

__all__ = [
    "assistants",
    "chats",
    "companies",
    "company",
    "documents",
    "files",
    "keys",
    "knowledge",
    "limits",
    "overview",
    "people",
    "runs",
    "site",
    "trail",
    "usage",
]
