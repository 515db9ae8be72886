"""Code sessions: where the state of a thread's code lies between two runs of it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone

from chat.models.threads import Thread
from tenants import clock
from tenants.constraints import tenant_constraints
from tenants.managers import TenantManager, TenantModel, TenantQuerySet
from tenants.models import Membership


class CodeSessionQuerySet(TenantQuerySet["CodeSession"]):
    """Code sessions of the tenant in scope."""

    def lasting(self) -> CodeSessionQuerySet:
        """Leave out those that nobody used for too long."""
        return self.filter(expires_at__gt=clock.now())


class CodeSession(TenantModel):
    """The variables and files of a thread's code, as they were after its last run.

    `state` names that moment: a process that holds another one is of no use any
    more. The bytes lie in the storage; without a `storage_key` they could not be
    kept. `lost` names the variables that are not among them, `inputs` the files
    that were laid in: ids to names.
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
            # Whoever erases a thread lets go of these bytes first.
            *tenant_constraints("codesession", thread="NO ACTION", member="NO ACTION"),
            models.UniqueConstraint(fields=["tenant", "thread"], name="codesession_one_per_thread"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["expires_at"], name="codesession_expires"),
            models.Index(fields=["state"], name="codesession_state"),
        ]

    def __str__(self) -> str:
        return f"code of {self.thread_id}"
