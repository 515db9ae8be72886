"""Admin of runs: their outcome and trace."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import display_for_value
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db import models
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from chat.admin.offered_models import get_server_label
from chat.admin.threads import record_opening
from chat.admin.usage_words import get_outcome_label
from chat.models import Run, RunStep, Thread, Usage, UsageOutcome
from chat.models.reasons import Reason
from tenants.admin import Group, TenantScopedAdmin, get_principal, site
from tenants.authentication import Principal

LABELS = {
    "completed": "success",
    "failed": "danger",
    "expired": "danger",
    "incomplete": "warning",
    "requires_action": "warning",
    "in_progress": "info",
    "queued": "default",
    "cancelling": "default",
    "cancelled": "default",
}

# Labels of what chat.runs records about a request to a model server.
REQUEST_LABELS = {
    "round": gettext_lazy("round"),
    "model": gettext_lazy("model"),
    "items": gettext_lazy("messages and tool results"),
    "estimated_tokens": gettext_lazy("estimated tokens"),
    "older_left_out": gettext_lazy("older messages omitted"),
    "tools": gettext_lazy("tools offered"),
    "conversation": gettext_lazy("conversation stored on the server"),
}


def format_duration(start: datetime | None, end: datetime | None) -> str:
    """Return a duration with its unit, "" while one end is missing."""
    if start is None or end is None:
        return ""
    return _("{seconds} s").format(seconds=f"{max(0.0, (end - start).total_seconds()):.1f}")


def format_cost(rows: Iterable[Usage]) -> str:
    """Return the cost of the rows by currency, with a note if a price is unknown."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    unknown = False
    for row in rows:
        if row.price is None:
            unknown = True
        else:
            sums[row.currency] += row.price * row.quantity
    parts = [f"{amount:.4f} {currency}" for currency, amount in sorted(sums.items())]
    if unknown:
        parts.append(_("price unknown"))
    return " + ".join(parts)


def get_reason_text(run: Run) -> str:
    """Return the reason of the run's end as a sentence."""
    return str(Reason(run.reason).label) if run.reason in Reason.values else run.reason


@admin.register(Run, site=site)
class RunAdmin(TenantScopedAdmin):
    """Admin of runs, newest first; message content needs permission to read the chat."""

    group = Group.CHATS
    icon = "bolt"
    paginator = InfinitePaginator
    list_display = (
        "render_created_at",
        "render_assistant",
        "render_member",
        "render_status",
        "why",
        "tokens",
        "took",
    )
    list_filter = ("status", "created_at")
    ordering = ("-created_at", "-id")
    fields = (
        "outcome",
        "why",
        "render_assistant",
        "render_member",
        "render_thread",
        "render_model",
        "render_created_at",
        "took",
        "tokens",
        "cost",
    )
    readonly_fields = fields
    change_form_outer_after_template = "admin/chat/trace.html"

    def get_visible_rows(self, principal: Principal) -> models.QuerySet[Any]:
        """Return all runs of the company: that a run took place is no secret from its admins."""
        rows: models.QuerySet[Any] = Run.objects.all()
        return rows.select_related("assistant", "member", "thread")

    def get_page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Add the trace below the summary."""
        principal = get_principal(request)
        assert principal is not None
        readable = Thread.objects.readable_by(principal).filter(pk=row.thread_id).exists()
        if readable:
            record_opening(principal, row.thread, page="run")
        return {
            "readable": readable,
            "steps": build_trace(row),
            "requests": list_model_requests(row),
        }

    @display(description=gettext_lazy("assistant"))
    def render_assistant(self, row: Run) -> str:
        """Return the name of the assistant."""
        return str(row.assistant) if row.assistant else _("deleted")

    @display(description=gettext_lazy("member"))
    def render_member(self, row: Run) -> str:
        """Return the name of the member who asked."""
        return row.member.name

    @display(description=gettext_lazy("chat"))
    def render_thread(self, row: Run) -> str:
        """Render a link to the chat, whose own page decides who may read it."""
        address = reverse("admin:chat_thread_change", args=[admin.utils.quote(row.thread_id)])
        return format_html('<a class="admin-link" href="{}">{}</a>', address, row.thread_id)

    @display(description=gettext_lazy("outcome"), label=LABELS)
    def render_status(self, row: Run) -> tuple[str, str]:
        """Return the status as a label."""
        return row.status, str(row.get_status_display())

    @display(description=gettext_lazy("outcome"))
    def outcome(self, row: Run) -> str:
        """Return the status as text, for the run's own page."""
        return str(row.get_status_display())

    @display(description=gettext_lazy("requested"), ordering="created_at")
    def render_created_at(self, row: Run) -> str:
        """Return when the run was requested."""
        return display_for_value(row.created_at, "")

    @display(description=gettext_lazy("model"))
    def render_model(self, row: Run) -> str:
        """Return the model and its server."""
        return _("{model} on {server}").format(
            model=row.model, server=get_server_label(row.upstream)
        )

    @display(description=gettext_lazy("reason"))
    def why(self, row: Run) -> str:
        """Return the reason of the run's end."""
        return get_reason_text(row)

    @display(description=gettext_lazy("tokens in / out"))
    def tokens(self, row: Run) -> str:
        """Return the numbers of input and output tokens."""
        read, written = intcomma(row.prompt_tokens), intcomma(row.completion_tokens)
        tokens = f"{read} / {written}"
        return _("{tokens}, estimated").format(tokens=tokens) if row.usage_estimated else tokens

    @display(description=gettext_lazy("duration"))
    def took(self, row: Run) -> str:
        """Return the duration from start to end."""
        return format_duration(row.started_at, row.ended_at)

    @display(description=gettext_lazy("cost"))
    def cost(self, row: Run) -> str:
        """Return the cost by the prices at the time of the run."""
        return format_cost(Usage.objects.filter(run=row))


def format_value(value: Any) -> str:
    """Return a value of the trace as text."""
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or _("none")
    if value is None or isinstance(value, bool):
        return _("yes") if value else _("no")
    return str(value)


def build_trace(run: Run) -> list[dict[str, Any]]:
    """Return the run's steps in order, each with its duration and tool calls."""
    calls: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for call in run.calls.order_by("round", "index"):
        given = "" if call.bound is None else json.dumps(call.bound, ensure_ascii=False)
        calls[call.step_id].append({"call": call, "given": given})
    return [
        {
            "step": step,
            "took": format_duration(step.created_at, step.ended_at),
            "sent": [
                (REQUEST_LABELS.get(name, name), format_value(value))
                for name, value in step.sent.items()
            ],
            "calls": calls[step.pk],
        }
        for step in RunStep.objects.filter(run=run).order_by("index")
    ]


def list_model_requests(run: Run) -> list[dict[str, Any]]:
    """Return the model requests in order, failed ones included, with their cost."""
    usage: dict[str, list[Usage]] = defaultdict(list)
    for row in Usage.objects.filter(run=run, unit="token").order_by("id"):
        usage[row.call].append(row)
    return [
        {
            "model": rows[0].model,
            "failed": rows[0].outcome == UsageOutcome.FAILED,
            "outcome": get_outcome_label(rows[0].outcome, estimated=rows[0].estimated),
            "used": {row.kind: row.quantity for row in rows},
            "cost": format_cost(rows),
        }
        for rows in usage.values()
    ]
