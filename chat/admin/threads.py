"""Read-only admin of chats: the admin's own, and all if the company's privacy setting allows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db import models
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from chat.models import Message, Run, Thread
from tenants import audit
from tenants.admin import Group, TenantScopedAdmin, get_principal, site
from tenants.authentication import Principal
from tenants.models import CHAT_OPENED, CHATS_LISTED

TRANSCRIPT_MESSAGES = 200


def get_run_url(run_id: str) -> str:
    """Return the URL of a run's trace."""
    return reverse("admin:chat_run_change", args=[admin.utils.quote(run_id)])


class ReadableChatsAdmin(TenantScopedAdmin):
    """Admin base that explains whose chats are listed and audits what it shows."""

    list_before_template = "admin/chat/readable.html"
    paginator = InfinitePaginator
    group = Group.CHATS

    def get_thread(self, row: Any) -> Thread:
        """Return the thread whose content the row shows."""
        raise NotImplementedError

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        """Render the list, and record for each member whose titles or texts it shows."""
        response: HttpResponseBase = super().changelist_view(request, extra_context)
        shown = (getattr(response, "context_data", None) or {}).get("cl")
        principal = get_principal(request)
        if shown is not None and principal is not None:
            rows = [self.get_thread(row) for row in shown.result_list]
            record_list(principal, self.opts.model_name or "", rows)
        return response

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        """Record the opening, because the page's heading names the chat."""
        row = self.get_object(request, unquote(object_id))
        principal = get_principal(request)
        if row is not None and principal is not None:
            record_opening(principal, self.get_thread(row), page="history")
        return super().history_view(request, object_id, extra_context)

    def get_page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Record the opening of the chat that the page shows."""
        principal = get_principal(request)
        assert principal is not None
        if row is not None:
            record_opening(principal, self.get_thread(row), page=self.opts.model_name or "")
        return {}


def record_opening(principal: Principal, thread: Thread, *, page: str) -> None:
    """Record in the page's transaction that an admin page shows another member's chat."""
    audit.record_reading(
        principal,
        CHAT_OPENED,
        thread.pk,
        member_ids=[thread.member_id],
        member=str(thread.member_id),
        page=page,
    )


def record_list(principal: Principal, page: str, threads: Iterable[Thread]) -> None:
    """Record for each other member which of their chats a list shows."""
    listed: dict[UUID, set[str]] = defaultdict(set)
    for thread in threads:
        listed[thread.member_id].add(thread.pk)
    for member_id, thread_ids in listed.items():
        audit.record_reading(
            principal,
            CHATS_LISTED,
            page,
            member_ids=[member_id],
            member=str(member_id),
            threads=sorted(thread_ids),
        )


@admin.register(Thread, site=site)
class ThreadAdmin(ReadableChatsAdmin):
    """Admin of chats, by last activity."""

    icon = "forum"
    list_display = ("render_title", "render_member", "created_at", "updated_at")
    search_fields = ("title",)
    ordering = ("-updated_at", "-id")
    fields = ("render_title", "render_member", "created_at", "updated_at", "transcript")
    readonly_fields = fields

    def get_visible_rows(self, principal: Principal) -> models.QuerySet[Any]:
        """Return the threads that `principal` may read."""
        rows: models.QuerySet[Any] = Thread.objects.readable_by(principal)
        return rows.select_related("member")

    def get_thread(self, row: Any) -> Thread:
        """Return the row, which is the thread."""
        found: Thread = row
        return found

    @display(description=_("title"), ordering="title")
    def render_title(self, row: Thread) -> str:
        """Return the title; an untitled chat uses its first words."""
        return str(row)

    @display(description=_("member"))
    def render_member(self, row: Thread) -> str:
        """Return the name of the chat's member."""
        return row.member.name

    @display(description=_("messages"))
    def transcript(self, row: Thread) -> str:
        """Render the newest messages, oldest first, with links to their traces."""
        newest = Message.objects.filter(thread=row).order_by(
            models.F("position").desc(nulls_first=True), "-id"
        )
        messages = list(newest.select_related("assistant")[:TRANSCRIPT_MESSAGES])
        runs = {
            run.pk: get_run_url(run.pk)
            for run in Run.objects.filter(pk__in={message.run_ref for message in messages})
        }
        shown = [
            {"message": message, "text": message.text(), "trace": runs.get(message.run_ref)}
            for message in reversed(messages)
        ]
        context = {"shown": shown, "cut": len(messages) == TRANSCRIPT_MESSAGES}
        return render_to_string("admin/chat/transcript.html", context)


@admin.register(Message, site=site)
class MessageAdmin(ReadableChatsAdmin):
    """Admin of messages, newest first."""

    icon = "chat_bubble"
    list_display = ("opening", "role", "render_member", "render_thread", "status", "created_at")
    list_filter = ("role", "status")
    ordering = ("-created_at", "-id")
    fields = (
        "render_thread",
        "render_member",
        "role",
        "status",
        "render_text",
        "created_at",
        "render_trace",
    )
    readonly_fields = fields

    def get_visible_rows(self, principal: Principal) -> models.QuerySet[Any]:
        """Return the messages of the threads that `principal` may read."""
        threads = Thread.objects.readable_by(principal)
        rows: models.QuerySet[Any] = Message.objects.filter(thread__in=threads)
        return rows.select_related("thread__member")

    def get_thread(self, row: Any) -> Thread:
        """Return the message's thread."""
        found: Thread = row.thread
        return found

    @display(description=_("text"))
    def opening(self, row: Message) -> str:
        """Return the first 90 characters of the text."""
        return Truncator(row.text()).chars(90) or "…"

    @display(description=_("text"))
    def render_text(self, row: Message) -> str:
        """Render the full text, with its line breaks."""
        return format_html('<div class="admin-text">{}</div>', row.text())

    @display(description=_("member"))
    def render_member(self, row: Message) -> str:
        """Return the name of the chat's member."""
        return row.thread.member.name

    @display(description=_("chat"))
    def render_thread(self, row: Message) -> str:
        """Render a link to the chat."""
        address = reverse("admin:chat_thread_change", args=[admin.utils.quote(row.thread_id)])
        return format_html('<a class="admin-link" href="{}">{}</a>', address, row.thread)

    @display(description=_("trace"))
    def render_trace(self, row: Message) -> str:
        """Render a link to the trace of the answer."""
        if not row.run_ref:
            return ""
        return format_html(
            '<a class="admin-link" href="{}">{}</a>', get_run_url(row.run_ref), row.run_ref
        )

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        """Disable search, which would read every message of the company."""
        return ()
