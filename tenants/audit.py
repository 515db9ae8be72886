"""The audit trail: one append-only row for each thing an admin, operator or tool did."""

from __future__ import annotations

from typing import Any

from tenants.access import Principal
from tenants.models import AuditEvent


def record(principal: Principal, action: str, subject: str = "", **data: Any) -> None:
    """Insert an audit event in the transaction of what it tells of.

    `data` holds ids and settings, never secrets or message text.
    """
    AuditEvent.objects.create(
        actor_id=principal.membership_id,
        actor=principal.label,
        action=action,
        subject=subject,
        data=data,
    )
