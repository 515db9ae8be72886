"""Periods in which admins can read members' chats, and members' acknowledgements of them."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.utils import timezone

from tenants.authentication import Principal
from tenants.errors import NotAllowed
from tenants.models import Membership
from tenants.reading_periods import ReadingPeriod
from tenants.scope import tenant_scope


def change_reading_period(principal: Principal, *, is_open: bool) -> None:
    """Start a reading period, or end the current one, in the caller's transaction.

    The caller must hold the lock on the tenant and change its setting accordingly.
    """
    if is_open:
        ReadingPeriod.objects.create(
            started_by_id=principal.membership_id, started_by=principal.label
        )
        return
    ReadingPeriod.objects.filter(ended_at=None).update(
        ended_at=timezone.now(), ended_by_id=principal.membership_id, ended_by=principal.label
    )


def acknowledge_reading(principal: Principal, *, through: datetime) -> Membership:
    """Record that a member has seen the notice about all period changes up to `through`.

    A time in the future counts as now. A time before the last acknowledgement has no effect.

    Raises:
        NotAllowed: the principal has no membership or uses an API key.
    """
    if principal.membership is None or principal.key is not None:
        raise NotAllowed
    with tenant_scope(principal.tenant_id), transaction.atomic():
        locked = Membership.objects.select_for_update(no_key=True)
        member: Membership = locked.get(pk=principal.membership_id)
        moment = min(through, timezone.now())
        before = member.reading_acknowledged_at
        if before is None or before < moment:
            member.reading_acknowledged_at = moment
            member.save(update_fields=["reading_acknowledged_at"])
        return member
