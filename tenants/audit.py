"""The audit trail: one append-only row for each thing an admin, operator or tool did."""

from __future__ import annotations

from typing import Any

from tenants.access import Principal
from tenants.models import AuditEvent


def record(principal: Principal, action: str, subject: str = "", **data: Any) -> None:
    """Insert an audit event in the transaction of what it tells of; see `event`."""
    event(principal, action, subject, **data).save(force_insert=True)


def event(principal: Principal, action: str, subject: str = "", **data: Any) -> AuditEvent:
    """Return an audit event, to be stored in the transaction of what it tells of.

    `data` holds ids and settings, never secrets or message text.
    """
    return AuditEvent(
        actor_id=principal.membership_id,
        actor=principal.label,
        action=action,
        subject=subject,
        data=data,
    )
