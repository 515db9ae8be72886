"""The audit log: one append-only row for each action of an admin, operator or tool."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from tenants.authentication import Principal, list_memberships
from tenants.models import AuditEvent, User
from tenants.scope import tenant_scope


def record(principal: Principal, action: str, subject: str = "", **data: Any) -> None:
    """Insert an audit event, in the transaction of the action itself; see `build_event`."""
    build_event(principal, action, subject, **data).save(force_insert=True)


def record_reading(
    principal: Principal, action: str, subject: str, *, member_ids: Iterable[UUID], **data: Any
) -> None:
    """Record, for each member except the principal, that the principal read their chats.

    Must run in the transaction that reads the content.
    """
    others = {member_id for member_id in member_ids if member_id != principal.membership_id}
    events = []
    for member_id in sorted(others):
        row = build_event(principal, action, subject, **data)
        row.concerns = member_id
        events.append(row)
    if events:
        AuditEvent.objects.bulk_create(events)


def record_for_account(
    user: User,
    action: str,
    *,
    actor: str | None = None,
    hourly_limit: int | None = None,
    **data: Any,
) -> None:
    """Record an account event in the audit log of every company that the account can access.

    Accounts do not belong to a company, so each company gets a row. Without `actor`, the actor is
    the member. `hourly_limit` is the maximum number of these events per member and hour; the last
    one has `more_not_recorded` set.

    Must run outside any transaction.
    """
    for membership in list_memberships(user):
        with tenant_scope(membership.tenant_id), transaction.atomic():
            row = AuditEvent(
                actor_id=membership.pk if actor is None else None,
                actor=membership.name if actor is None else actor,
                action=action,
                subject=membership.name,
                concerns=membership.pk,
                data={"member": str(membership.pk), **data},
            )
            if hourly_limit is not None:
                since = timezone.now() - timedelta(hours=1)
                count = AuditEvent.objects.filter(
                    concerns=membership.pk, action=action, created_at__gt=since
                ).count()
                if count >= hourly_limit:
                    continue
                if count == hourly_limit - 1:
                    row.data["more_not_recorded"] = True
            row.save(force_insert=True)


def build_event(principal: Principal, action: str, subject: str = "", **data: Any) -> AuditEvent:
    """Return an unsaved audit event. Save it in the transaction of the action itself.

    `data` holds ids and settings, never secrets or message text.
    """
    return AuditEvent(
        actor_id=principal.membership_id,
        actor=principal.label,
        action=action,
        subject=subject,
        data=data,
    )
