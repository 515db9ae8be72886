"""What a program's repeated request is answered with."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from django.db import models
from django.db.models import Value
from django.db.models.functions import Now
from django.utils import timezone

from tenants import clock
from tenants.constraints import tenant_constraints
from tenants.managers import TenantManager, TenantModel, TenantQuerySet

KEPT = timedelta(hours=24)


def in_a_day() -> datetime:
    """Return when a record of now is forgotten that a program gave a key of its own."""
    return clock.now() + KEPT


class IdempotencyQuerySet(TenantQuerySet["IdempotencyRecord"]):
    """Answers kept for the tenant in scope."""

    def kept(self) -> IdempotencyQuerySet:
        """Return those that still answer a repeat."""
        return self.filter(expires_at__gt=clock.now())

    def about(self, subject: str) -> IdempotencyQuerySet:
        """Return those that speak of this thread, or of this other object."""
        return self.filter(subject=subject)


class IdempotencyRecord(TenantModel):
    """A request that was carried out, and its answer. Kept until `expires_at`.

    `slot` is a digest of who asked for what under which key of his own;
    `body_hash` of what he sent. A stream is kept as where it begins.
    `subject` is the thread that the answer speaks of, else the object that was
    made: the answer goes when that is erased.
    """

    id = models.BigAutoField(primary_key=True)
    slot = models.CharField(max_length=64)
    body_hash = models.CharField(max_length=64)
    answer = models.JSONField()
    subject = models.CharField(max_length=40, default="", db_default="")
    created_at = models.DateTimeField(default=timezone.now)
    # A process of the version before writes none.
    expires_at = models.DateTimeField(default=in_a_day, db_default=Now() + Value(KEPT))

    objects: ClassVar[TenantManager] = TenantManager.of(IdempotencyQuerySet)

    class Meta(TenantModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *tenant_constraints("idempotency"),
            models.UniqueConstraint(fields=["tenant", "slot"], name="idempotency_one_per_slot"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["expires_at"], name="idempotency_by_end"),
            models.Index(fields=["tenant", "subject"], name="idempotency_by_subject"),
        ]

    def __str__(self) -> str:
        return self.slot[:12]
