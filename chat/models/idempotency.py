"""Idempotency records: stored responses for repeated requests."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from django.db import models
from django.db.models import Value
from django.db.models.functions import Now
from django.utils import timezone

from tenants import clock
from tenants.constraints import build_tenant_constraints
from tenants.managers import TenantManager, TenantModel, TenantQuerySet

RETENTION = timedelta(hours=24)


def in_a_day() -> datetime:
    """Return the default expiry of a record created now."""
    return clock.now() + RETENTION


class IdempotencyQuerySet(TenantQuerySet["IdempotencyRecord"]):
    """Idempotency records of the tenant in scope."""

    def unexpired(self) -> IdempotencyQuerySet:
        """Return the records that have not expired."""
        return self.filter(expires_at__gt=clock.now())

    def about(self, subject: str) -> IdempotencyQuerySet:
        """Return the records about this thread or other object."""
        return self.filter(subject=subject)


class IdempotencyRecord(TenantModel):
    """A completed request and its response, kept until `expires_at`.

    `slot` is a digest of the principal and either the path and idempotency key or, for
    automatic retries of a client, the request itself; `body_hash` is a digest of path, query
    and body. For a stream, the response is the position where it begins.
    `subject` is the ID of the thread that the response is about, else of the created
    object: the record is deleted when that is erased.
    """

    id = models.BigAutoField(primary_key=True)
    slot = models.CharField(max_length=64)
    body_hash = models.CharField(max_length=64)
    answer = models.JSONField()
    subject = models.CharField(max_length=40, default="", db_default="")
    created_at = models.DateTimeField(default=timezone.now)
    # The database default covers processes of the previous version during an upgrade.
    expires_at = models.DateTimeField(default=in_a_day, db_default=Now() + Value(RETENTION))

    objects: ClassVar[TenantManager] = TenantManager.of(IdempotencyQuerySet)

    class Meta(TenantModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *build_tenant_constraints("idempotency"),
            models.UniqueConstraint(fields=["tenant", "slot"], name="idempotency_one_per_slot"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["expires_at"], name="idempotency_by_end"),
            models.Index(fields=["tenant", "subject"], name="idempotency_by_subject"),
        ]

    def __str__(self) -> str:
        return self.slot[:12]
