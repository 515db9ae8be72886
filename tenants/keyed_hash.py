"""Keyed hashes of private values, which cannot be guessed without the installation's key.

The key of a company is derived from FIELD_ENCRYPTION_KEYS, which is not stored in the database,
and the company's id.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from uuid import UUID

from django.conf import settings


def hash_private(tenant_id: UUID, purpose: str, text: str) -> str:
    """Return the hex HMAC-SHA-256 of `text` under the company's newest key for `purpose`."""
    return next(_iter_hashes(tenant_id, purpose, text))


def is_hash_of(hashed: str, tenant_id: UUID, purpose: str, text: str) -> bool:
    """Return True if `hashed` is the hash of `text` under the newest key or a former one."""
    candidates = _iter_hashes(tenant_id, purpose, text)
    matches = [hmac.compare_digest(hashed, candidate) for candidate in candidates]
    return any(matches)


def _iter_hashes(tenant_id: UUID, purpose: str, text: str) -> Iterator[str]:
    raw = text.encode("utf-8", "surrogatepass")
    for secret in settings.SALT_KEY:
        key = _derive_tenant_key(secret, tenant_id, purpose)
        yield hmac.new(key, raw, sha256).hexdigest()


@lru_cache(maxsize=10_000)
def _derive_tenant_key(secret: str, tenant_id: UUID, purpose: str) -> bytes:
    return hmac.new(secret.encode(), f"{purpose}:{tenant_id}".encode(), sha256).digest()
