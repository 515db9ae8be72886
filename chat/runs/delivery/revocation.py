"""Find open connections whose access was revoked and runs that were cancelled."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from tenants.db import call_privileged


@dataclass(frozen=True, kw_only=True, eq=False)
class Connection:
    """Open websocket or event stream that is closed when its access is revoked."""

    membership: UUID | None
    key: UUID | None
    sign_in: str | None
    since: datetime
    close: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class RevokedAccess:
    """Revoked memberships, keys and sign-ins, and cancelled runs, among those queried."""

    memberships: frozenset[UUID] = frozenset()
    keys: frozenset[UUID] = frozenset()
    sign_ins: frozenset[str] = frozenset()
    cancelled: frozenset[str] = frozenset()
    revoked: frozenset[str] = frozenset()
    signed_out: dict[UUID, datetime] = field(default_factory=dict)

    def applies_to(self, connection: Connection) -> bool:
        """Return True if the connection's access has been revoked."""
        if connection.membership in self.memberships or connection.key in self.keys:
            return True
        if connection.sign_in in self.sign_ins:
            return True
        if not connection.membership or connection.key is not None:
            return False
        signed_out = self.signed_out.get(connection.membership)
        return signed_out is not None and signed_out > connection.since


def find_revoked(
    *,
    memberships: Collection[UUID],
    keys: Collection[UUID],
    sign_ins: Collection[str],
    runs: Collection[str],
) -> RevokedAccess:
    """Query, in one SECURITY DEFINER call, which of these were revoked or cancelled."""
    rows = call_privileged("watch", list(memberships), list(keys), list(sign_ins), list(runs))
    ids: dict[str, set[str]] = {
        "membership": set(),
        "key": set(),
        "sign_in": set(),
        "cancel": set(),
        "revoked": set(),
    }
    signed_out = {}
    for kind, value, at in rows:
        if kind == "signed_out":
            signed_out[UUID(value)] = at
        else:
            ids[kind].add(value)
    return RevokedAccess(
        memberships=frozenset(map(UUID, ids["membership"])),
        keys=frozenset(map(UUID, ids["key"])),
        sign_ins=frozenset(ids["sign_in"]),
        cancelled=frozenset(ids["cancel"]),
        revoked=frozenset(ids["revoked"]),
        signed_out=signed_out,
    )
