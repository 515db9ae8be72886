"""Periods in which a company's admins could read its members' chats."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from tenants.constraints import build_tenant_constraints
from tenants.managers import TenantManager, TenantModel, TenantQuerySet

if TYPE_CHECKING:
    from datetime import datetime

    from tenants.models import Membership


class ReadingPeriodQuerySet(TenantQuerySet["ReadingPeriod"]):
    """Reading periods of the tenant in scope."""

    def concerning(self, membership: Membership) -> ReadingPeriodQuerySet:
        """Return the periods in which this member's chats could be read, newest first."""
        overlapping = models.Q(ended_at=None) | models.Q(ended_at__gt=membership.created_at)
        return self.filter(overlapping).order_by("-started_at", "-id")


class ReadingPeriod(TenantModel):
    """A period in which admins could read members' chats, and who started and ended it.

    `Tenant.admins_read_threads` is true exactly while a period without an end exists. The
    application's database role can only insert a period and end it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    started_at = models.DateTimeField(default=timezone.now)
    started_by_id = models.UUIDField(null=True)
    started_by = models.CharField(max_length=200, blank=True)
    ended_at = models.DateTimeField(null=True)
    ended_by_id = models.UUIDField(null=True)
    ended_by = models.CharField(max_length=200, blank=True)

    objects: ClassVar[TenantManager] = TenantManager.of(ReadingPeriodQuerySet)

    class Meta(TenantModel.Meta):
        verbose_name = _("reading period")
        verbose_name_plural = _("reading periods")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *build_tenant_constraints("reading_period"),
            models.UniqueConstraint(
                fields=["tenant"],
                condition=models.Q(ended_at=None),
                name="reading_period_one_open",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["tenant", "-started_at"], name="reading_period_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.started_at} - {self.ended_at or ''}"

    @property
    def changed_at(self) -> datetime:
        """Time of the end, or of the start if the period is still open."""
        return self.ended_at or self.started_at


@dataclass(frozen=True, kw_only=True)
class ReadingNotice:
    """Periods that began or ended since the member's last acknowledgement, newest first.

    `through` is the time up to which an acknowledgement of this notice applies.
    """

    periods: list[ReadingPeriod]
    through: datetime


def get_reading_notice(
    membership: Membership, periods: Iterable[ReadingPeriod]
) -> ReadingNotice | None:
    """Return the notice about `periods` that a member must see, or None.

    For a member who has never acknowledged a notice, an open period counts even if it began
    before the member joined.
    """
    acknowledged = membership.reading_acknowledged_at
    since = acknowledged or membership.created_at
    changed = [
        period
        for period in periods
        if period.changed_at > since or (acknowledged is None and period.ended_at is None)
    ]
    if not changed:
        return None
    return ReadingNotice(periods=changed, through=max(period.changed_at for period in changed))
