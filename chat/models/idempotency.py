"""What a program's repeated request is answered with."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.db import models
from django.utils import timezone

from tenants.constraints import tenant_constraints
from tenants.managers import TenantModel

KEPT = timedelta(hours=24)


class IdempotencyRecord(TenantModel):
    """A request that was carried out, and its answer. Kept for a day.

    `slot` is a digest of who asked for what under which key of his own;
    `body_hash` of what he sent. A stream is kept as where it begins.
    """

    id = models.BigAutoField(primary_key=True)
    slot = models.CharField(max_length=64)
    body_hash = models.CharField(max_length=64)
    answer = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta(TenantModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *tenant_constraints("idempotency"),
            models.UniqueConstraint(fields=["tenant", "slot"], name="idempotency_one_per_slot"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["created_at"], name="idempotency_by_time"),
        ]

    def __str__(self) -> str:
        return self.slot[:12]
