"""Uploaded and generated files. The bytes are in Django's file storage under `storage_key`."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from chat import ids
from tenants import clock
from tenants.authentication import Principal
from tenants.constraints import build_tenant_constraints
from tenants.managers import TenantManager, TenantModel, TenantQuerySet
from tenants.models import Membership


class Purpose(models.TextChoices):
    """File purposes of the Assistants API."""

    ASSISTANTS = "assistants", _("for assistants")
    ASSISTANTS_OUTPUT = "assistants_output", _("made by an assistant")
    VISION = "vision", _("a picture to look at")
    USER_DATA = "user_data", _("anything")
    BATCH = "batch", _("batch")
    BATCH_OUTPUT = "batch_output", _("batch output")
    FINE_TUNE = "fine-tune", _("fine-tune")
    FINE_TUNE_RESULTS = "fine-tune-results", _("fine-tune results")
    EVALS = "evals", _("evaluations")


class FileQuerySet(TenantQuerySet["File"]):
    """Files of the tenant in scope."""

    def alive(self) -> FileQuerySet:
        """Exclude files that are incomplete, deleted or expired."""
        unexpired = models.Q(expires_at=None) | models.Q(expires_at__gt=clock.now())
        return self.filter(unexpired, stored_at__isnull=False, deleted_at=None)

    def visible_to(self, principal: Principal) -> FileQuerySet:
        """Return the principal's own files, for admins also the company's."""
        return self.alive().filter(build_owner_filter(principal))


def build_owner_filter(principal: Principal) -> models.Q:
    """Return the filter for rows the principal owns; for admins it includes the company's."""
    own = models.Q(member_id=principal.membership_id, member_id__isnull=False)
    return own | models.Q(member_id=None) if principal.is_admin else own


class File(TenantModel):
    """An uploaded or generated file.

    Files without a `member` belong to the company: admins manage them for assistants.
    The row is committed before the bytes are written, so that no bytes are orphaned. The
    file becomes visible once `stored_at` is set, together with its final size and hash.
    """

    id = models.CharField(primary_key=True, max_length=40, default=ids.file_id, editable=False)
    member = models.ForeignKey(
        Membership, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+"
    )
    purpose = models.CharField(max_length=20, choices=Purpose.choices)
    # Metadata only: never used to build a path.
    filename = models.CharField(_("name"), max_length=255)
    media_type = models.CharField(max_length=100)
    bytes = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    # The file was attached to a chat and is deleted with the last chat that refers to it.
    goes_with_threads = models.BooleanField(default=False, db_default=False)
    storage_key = models.CharField(max_length=100, unique=True)
    created_at = models.DateTimeField(_("uploaded"), default=timezone.now)
    stored_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)

    objects: ClassVar[TenantManager] = TenantManager.of(FileQuerySet)

    class Meta(TenantModel.Meta):
        verbose_name = _("file")
        verbose_name_plural = _("files")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *build_tenant_constraints("file", member="NO ACTION"),
            models.CheckConstraint(
                condition=models.Q(purpose__in=Purpose.values), name="file_purpose_known"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["tenant", "-created_at", "-id"], name="file_newest"),
            models.Index(
                fields=["created_at"],
                condition=models.Q(stored_at=None) | models.Q(deleted_at__isnull=False),
                name="file_to_remove",
            ),
            models.Index(
                fields=["expires_at"],
                condition=models.Q(expires_at__isnull=False),
                name="file_expires",
            ),
        ]

    def __str__(self) -> str:
        return self.filename


class StorageUse(TenantModel):
    """Bytes stored by a tenant: one row, updated in the transaction that adds or frees them."""

    id = models.BigAutoField(primary_key=True)
    bytes = models.BigIntegerField(default=0)

    class Meta(TenantModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *build_tenant_constraints("storageuse"),
            models.UniqueConstraint(fields=["tenant"], name="storageuse_one_per_tenant"),
            models.CheckConstraint(
                condition=models.Q(bytes__gte=0), name="storageuse_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.bytes} bytes"
