"""Code sessions: saved state of a thread's code interpreter between executions."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone

from chat.models.threads import Thread
from tenants import clock
from tenants.constraints import build_tenant_constraints
from tenants.managers import TenantManager, TenantModel, TenantQuerySet
from tenants.models import Membership


class CodeSessionQuerySet(TenantQuerySet["CodeSession"]):
    """Code sessions of the tenant in scope."""

    def unexpired(self) -> CodeSessionQuerySet:
        """Exclude expired sessions."""
        return self.filter(expires_at__gt=clock.now())


class CodeSession(TenantModel):
    """Snapshot of the variables and files of a thread's code after its last execution.

    `state` identifies the snapshot: a live process with another state is stale. The
    bytes are in the file storage; an empty `storage_key` means that they could not be
    saved. `lost` lists the variables missing from the snapshot. `inputs` maps the IDs of
    the provided files to their names.
    """

    id = models.BigAutoField(primary_key=True)
    thread = models.ForeignKey(
        Thread, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    member = models.ForeignKey(
        Membership, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    backend = models.CharField(max_length=20)
    state = models.CharField(max_length=32)
    storage_key = models.CharField(max_length=100, blank=True)
    bytes = models.BigIntegerField(default=0)
    lost = models.JSONField(default=list)
    inputs = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()

    objects: ClassVar[TenantManager] = TenantManager.of(CodeSessionQuerySet)

    class Meta(TenantModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            # Code that erases a thread must delete the stored bytes first.
            *build_tenant_constraints("codesession", thread="NO ACTION", member="NO ACTION"),
            models.UniqueConstraint(fields=["tenant", "thread"], name="codesession_one_per_thread"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["expires_at"], name="codesession_expires"),
            models.Index(fields=["state"], name="codesession_state"),
        ]

    def __str__(self) -> str:
        return f"code of {self.thread_id}"
