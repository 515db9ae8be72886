"""Read-only admin of the audit log."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from chat.models import Run
from tenants import audit
from tenants.admin import Group, TenantScopedAdmin, get_principal, site
from tenants.authentication import Principal
from tenants.models import CHAT_OPENED, AuditEvent

HIDDEN = "…"
# Reveals a chat's content: hidden from admins who may not read the chat.
PRIVATE = ("arguments", "arguments_hash")


@admin.register(AuditEvent, site=site)
class AuditEventAdmin(TenantScopedAdmin):
    """Admin of audit events."""

    group = Group.COMPANY
    icon = "history"
    menu = _("Audit log")
    paginator = InfinitePaginator
    list_display = ("created_at", "actor", "action", "subject")
    list_filter = ("created_at",)
    search_fields = ("actor", "action", "subject")
    search_help_text = _("Actor, action or subject")
    ordering = ("-created_at", "-id")
    fields = ("created_at", "actor", "action", "subject", "details")
    readonly_fields = fields

    def get_visible_rows(self, principal: Principal) -> models.QuerySet[Any]:
        """Return the events, annotated with whether tool arguments may be shown."""
        rows: models.QuerySet[Any] = AuditEvent.objects.visible_to(principal)
        may_read = models.Q(models.Value(principal.tenant.admins_read_threads))
        if principal.membership_id is not None:
            may_read |= models.Q(actor_id=principal.membership_id)
        readable = models.ExpressionWrapper(may_read, output_field=models.BooleanField())
        marked: models.QuerySet[Any] = rows.annotate(may_read=readable)
        return marked

    def get_page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Record an opening if the page shows another member's tool arguments."""
        principal = get_principal(request)
        assert principal is not None
        if row is not None and row.may_read and "arguments" in row.data and row.actor_id:
            run = row.data.get("run")
            found = Run.objects.filter(pk=run).values_list("thread_id", flat=True).first()
            audit.record_reading(
                principal,
                CHAT_OPENED,
                found or "",
                member_ids=[row.actor_id],
                member=str(row.actor_id),
                page="auditevent",
            )
        return {}

    @display(description=_("details"))
    def details(self, row: Any) -> str:
        """Render ids and settings; tool arguments are as private as the chat they belong to."""
        hidden = {} if row.may_read else {name: HIDDEN for name in PRIVATE if name in row.data}
        text = json.dumps({**row.data, **hidden}, indent=2, ensure_ascii=False, default=str)
        return format_html('<pre class="admin-code" tabindex="0">{}</pre>', text)
