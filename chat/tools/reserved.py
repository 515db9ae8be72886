"""Reserved argument names, which would let a model claim an identity or a credential."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_WORDS = frozenset(
    {
        "tenant", "organisation", "organization", "org", "user", "username", "member", "membership",
        "principal", "password", "passwd", "credential", "credentials", "secret",
    }
)  # fmt: skip
_NAMES = frozenset(
    {
        "role", "role_id", "roles", "token", "api_key", "apikey", "api_keys", "auth",
        "authorization", "account_id", "company_id", "session_id", "ctx", "context",
    }
)  # fmt: skip
_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")


def is_reserved(name: str) -> bool:
    """Return True if `name` denotes a tenant, organisation, person, role or credential."""
    words = [word.lower() for word in _BORDER.split(name) if word]
    spelt = "_".join(words)
    return spelt in _NAMES or spelt.endswith("_token") or not _WORDS.isdisjoint(words)


def find_reserved_keys(value: Any) -> Iterator[str]:
    """Yield the reserved keys of a parsed JSON value, at any depth."""
    if isinstance(value, dict):
        for key, item in value.items():
            if is_reserved(key):
                yield key
            yield from find_reserved_keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from find_reserved_keys(item)
