"""Threads, messages, and their copies at model servers."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from chat import ids
from chat.models.assistants import Assistant
from tenants.authentication import Principal
from tenants.compiled_queries import CompiledQuery
from tenants.constraints import build_tenant_constraints
from tenants.managers import TenantManager, TenantModel, TenantQuerySet
from tenants.models import Membership


class ContentText(models.Func):
    """The text parts of a message's content, as the text of a JSON array."""

    function = "jsonb_path_query_array"
    template = "%(function)s(%(expressions)s, '$[*].text.value')::text"
    output_field = models.TextField()


def escape_json_text(text: str) -> str:
    """Return `text` escaped as in JSON, to search for it in `ContentText`."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


class ThreadQuerySet(TenantQuerySet["Thread"]):
    """Threads of the tenant in scope."""

    def alive(self) -> ThreadQuerySet:
        """Exclude deleted threads."""
        return self.filter(deleted_at=None)

    def visible_to(self, principal: Principal) -> ThreadQuerySet:
        """Return the principal's own threads, regardless of role."""
        return self.alive().filter(member_id=principal.membership_id)

    def readable_by(self, principal: Principal) -> ThreadQuerySet:
        """Return the threads for admin pages: all if the tenant allows it, else the own ones."""
        if principal.is_admin and principal.tenant.admins_read_threads:
            return self.alive()
        return self.visible_to(principal)

    def locked(self) -> ThreadQuerySet:
        """Lock the rows FOR NO KEY UPDATE: FOR UPDATE would block inserts of child rows."""
        return self.select_for_update(no_key=True)

    def restorable(self) -> ThreadQuerySet:
        """Return the deleted threads that are not erased yet."""
        return self.exclude(deleted_at=None)

    def mentioning(self, text: str) -> ThreadQuerySet:
        """Return the threads with `text` in their title or a message, case-insensitively."""
        found = models.lookups.IContains(ContentText(models.F("content")), escape_json_text(text))
        messages = Message.objects.filter(thread=models.OuterRef("pk")).filter(found)
        return self.filter(models.Q(title__icontains=text) | models.Exists(messages))

    def newest_first(self, *, after: Thread | None = None) -> ThreadQuerySet:
        """Order by last activity, newest first; `after` continues after that thread."""
        rows = self.order_by("-updated_at", "-id")
        if after is None:
            return rows
        same = models.Q(updated_at=after.updated_at, id__lt=after.id)
        return rows.filter(models.Q(updated_at__lte=after.updated_at)).filter(
            models.Q(updated_at__lt=after.updated_at) | same
        )


class Thread(TenantModel):
    """A member's chat. Not bound to an assistant: any of the tenant's may run on it."""

    id = models.CharField(primary_key=True, max_length=40, default=ids.thread_id, editable=False)
    member = models.ForeignKey(
        Membership, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    title = models.CharField(_("title"), max_length=200, blank=True)
    titled_by_person = models.BooleanField(default=False)
    metadata = models.JSONField(default=dict, blank=True)
    tool_resources = models.JSONField(default=dict, blank=True)
    last_position = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    updated_at = models.DateTimeField(_("last activity"), default=timezone.now)
    deleted_at = models.DateTimeField(null=True)

    objects: ClassVar[TenantManager] = TenantManager.of(ThreadQuerySet)

    class Meta(TenantModel.Meta):
        verbose_name = _("chat")
        verbose_name_plural = _("chats")
        constraints: ClassVar[list[models.BaseConstraint]] = build_tenant_constraints(
            "thread", member="NO ACTION"
        )
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["tenant", "member", "-updated_at", "-id"],
                condition=models.Q(deleted_at=None),
                name="thread_newest",
            ),
            models.Index(
                fields=["deleted_at"],
                condition=models.Q(deleted_at__isnull=False),
                name="thread_deleted",
            ),
        ]

    def __str__(self) -> str:
        return self.title or self.id


@CompiledQuery
def find_own_thread(*, principal: Any, thread_id: Any) -> ThreadQuerySet:
    """Return the principal's own thread with this ID, if it exists."""
    rows: ThreadQuerySet = Thread.objects.visible_to(principal)
    return rows.filter(pk=thread_id)


class MessageStatus(models.TextChoices):
    """Message statuses of the Assistants API."""

    IN_PROGRESS = "in_progress", _("being written")
    INCOMPLETE = "incomplete", _("cut short")
    COMPLETED = "completed", _("complete")


class MessageQuerySet(TenantQuerySet["Message"]):
    """Messages of the tenant in scope."""

    def visible_to(self, principal: Principal) -> MessageQuerySet:
        """Return the messages of the principal's own threads."""
        return self.filter(thread__member_id=principal.membership_id, thread__deleted_at=None)

    def in_thread(self) -> MessageQuerySet:
        """Exclude queued messages, which have no position in the thread yet."""
        return self.filter(position__isnull=False)

    def queued(self) -> MessageQuerySet:
        """Return the messages queued behind the active run, oldest first."""
        return self.filter(position=None).order_by("created_at", "id")


class Message(TenantModel):
    """A message of a member or an assistant. `position` is its place, null while queued.

    `content` is a list of content parts as in the API: {"type": "text", "text":
    {"value", "annotations"}}, {"type": "image_file" | "image_url" | "refusal", …}.
    """

    id = models.CharField(primary_key=True, max_length=40, default=ids.message_id, editable=False)
    thread = models.ForeignKey(
        Thread, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    position = models.BigIntegerField(null=True)
    role = models.CharField(max_length=10)
    status = models.CharField(
        max_length=12, choices=MessageStatus.choices, default=MessageStatus.COMPLETED
    )
    content = models.JSONField(default=list)
    attachments = models.JSONField(default=list)
    metadata = models.JSONField(default=dict)
    # The assistant that wrote the message, or that it is addressed to.
    assistant = models.ForeignKey(
        Assistant, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+"
    )
    # The run that wrote the message. Not a foreign key: both can be deleted independently.
    run_ref = models.CharField(max_length=40, blank=True)
    # The sender's idempotency key: a repeated send returns the same message.
    client_id = models.CharField(max_length=64, null=True)
    sender = models.UUIDField(null=True)
    # The API key that sent the message: a later run acts with the rights of this key.
    sender_key = models.UUIDField(null=True)
    incomplete_reason = models.CharField(max_length=20, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    completed_at = models.DateTimeField(null=True)
    incomplete_at = models.DateTimeField(null=True)

    objects: ClassVar[TenantManager] = TenantManager.of(MessageQuerySet)

    class Meta(TenantModel.Meta):
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *build_tenant_constraints("message", thread="CASCADE", assistant="SET NULL"),
            models.UniqueConstraint(
                fields=["tenant", "thread", "position"], name="message_one_per_position"
            ),
            models.UniqueConstraint(
                fields=["tenant", "sender", "client_id"], name="message_once_per_client_id"
            ),
            models.CheckConstraint(
                condition=models.Q(role__in=["user", "assistant"]), name="message_role_known"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["tenant", "-created_at"], name="message_by_time"),
            models.Index(
                fields=["tenant", "thread", "created_at"],
                condition=models.Q(position=None),
                name="message_queued",
            ),
        ]

    def __str__(self) -> str:
        return self.id

    def text(self) -> str:
        """Return the text parts, joined by blank lines."""
        parts = [part["text"]["value"] for part in self.content if part["type"] == "text"]
        return "\n\n".join(parts)


class ThreadMapping(TenantModel):
    """A conversation at a model server for a thread, and the position it is synced through."""

    id = models.BigAutoField(primary_key=True)
    thread = models.ForeignKey(
        Thread, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    upstream = models.CharField(max_length=64)
    external_id = models.CharField(max_length=200)
    synced_through = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta(TenantModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *build_tenant_constraints("mapping", thread="CASCADE"),
            models.UniqueConstraint(
                fields=["tenant", "thread", "upstream"], name="mapping_one_per_upstream"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.thread_id} at {self.upstream}"
