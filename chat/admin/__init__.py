"""The admin pages. Importing this registers them all on the site."""

from __future__ import annotations

from chat.admin import (
    assistants,
    chats,
    company,
    keys,
    limits,
    overview,
    people,
    platform,
    runs,
    trail,
    usage,
)
from tenants.admin import site

__all__ = [
    "assistants",
    "chats",
    "company",
    "keys",
    "limits",
    "overview",
    "people",
    "platform",
    "runs",
    "site",
    "trail",
    "usage",
]
