"""Multipart uploads: each part is stored as it arrives."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone

from chat import ids
from chat.models.files import File, Purpose, build_owner_filter
from tenants.authentication import Principal
from tenants.constraints import build_tenant_constraints
from tenants.managers import TenantManager, TenantModel, TenantQuerySet
from tenants.models import Membership


class UploadStatus(models.TextChoices):
    """Upload statuses of the API."""

    PENDING = "pending"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class UploadQuerySet(TenantQuerySet["Upload"]):
    """Uploads of the tenant in scope."""

    def visible_to(self, principal: Principal) -> UploadQuerySet:
        """Return the principal's own uploads, for admins also the company's."""
        return self.filter(build_owner_filter(principal))


class Upload(TenantModel):
    """A file uploaded in parts, which are joined at the end in the order the caller gives."""

    id = models.CharField(primary_key=True, max_length=40, default=ids.upload_id, editable=False)
    member = models.ForeignKey(
        Membership, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+"
    )
    file = models.ForeignKey(
        File, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+"
    )
    purpose = models.CharField(max_length=20, choices=Purpose.choices)
    filename = models.CharField(max_length=255)
    media_type = models.CharField(max_length=100)
    bytes = models.BigIntegerField()
    # Lifetime of the completed file, in seconds after its creation.
    file_seconds = models.IntegerField(null=True)
    status = models.CharField(
        max_length=10, choices=UploadStatus.choices, default=UploadStatus.PENDING
    )
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()

    objects: ClassVar[TenantManager] = TenantManager.of(UploadQuerySet)

    class Meta(TenantModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *build_tenant_constraints("upload", member="NO ACTION", file="SET NULL"),
            models.CheckConstraint(
                condition=models.Q(status__in=UploadStatus.values), name="upload_status_known"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["expires_at"], condition=models.Q(status="pending"), name="upload_open"
            ),
        ]

    def __str__(self) -> str:
        return self.filename


class UploadPart(TenantModel):
    """A part of an upload. The row is committed before the bytes are written, as for files."""

    id = models.CharField(primary_key=True, max_length=40, default=ids.part_id, editable=False)
    upload = models.ForeignKey(
        Upload, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    bytes = models.BigIntegerField(default=0)
    storage_key = models.CharField(max_length=100, unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    stored_at = models.DateTimeField(null=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *build_tenant_constraints("uploadpart", upload="NO ACTION"),
        ]

    def __str__(self) -> str:
        return self.id
