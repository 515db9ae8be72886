"""Admin of usage and its cost."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import models
from django.db.models import F, OuterRef, Q, Subquery, Sum
from django.db.models.functions import TruncMonth
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from chat.admin.threads import get_run_url
from chat.admin.usage_export import export_usage_csv, parse_month
from chat.admin.usage_words import (
    get_kind_label,
    get_outcome_label,
    get_store_names,
    get_usage_source,
)
from chat.models import Usage, UsageKind, VectorStore
from tenants import audit
from tenants.admin import Group, TenantScopedAdmin, get_principal, site
from tenants.authentication import Principal

MONTHS = 12


def sum_by_month(rows: models.QuerySet[Any]) -> list[dict[str, Any]]:
    """Return sums of the newest months by model, kind and currency, newest first."""
    found = list(
        rows.annotate(month=TruncMonth("created_at"))
        .values("month", "model", "kind", "unit", "currency")
        .annotate(
            used=Sum("quantity"),
            cost=Sum(F("quantity") * F("price")),
            estimated=Sum("quantity", filter=Q(estimated=True)),
        )
        .order_by("-month", "model", "kind")[: MONTHS * 20]
    )
    names = get_store_names({row["model"] for row in found if row["kind"] == UsageKind.STORAGE})
    for row in found:
        row["of"] = get_usage_source(row["model"], row["kind"], names)
    return found


@admin.register(Usage, site=site)
class UsageAdmin(TenantScopedAdmin):
    """Admin of the usage of each model call, below sums by month."""

    group = Group.CHATS
    icon = "receipt_long"
    paginator = InfinitePaginator
    list_before_template = "admin/chat/months.html"
    list_display = (
        "created_at",
        "render_member",
        "render_what",
        "amount",
        "render_price",
        "cost",
        "render_outcome",
    )
    list_filter = ("created_at",)
    ordering = ("-created_at", "-id")
    fields = (
        "created_at",
        "render_member",
        "render_run",
        "render_what",
        "amount",
        "render_price",
        "cost",
        "render_outcome",
    )
    readonly_fields = fields

    def get_visible_rows(self, principal: Principal) -> models.QuerySet[Any]:
        """Return the company's usage."""
        rows: models.QuerySet[Any] = Usage.objects.visible_to(principal)
        stores = VectorStore.objects.filter(pk=OuterRef("model"), member=None)
        rows = rows.annotate(store=Subquery(stores.values("name")[:1]))
        return rows.select_related("member")

    def get_urls(self) -> list[URLPattern]:
        """Add the export."""
        info = self.opts.app_label, self.opts.model_name
        export = self.admin_site.admin_view(self.export_view)
        return [
            path("export/", export, name="{}_{}_export".format(*info)),
            *super().get_urls(),
        ]

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """Send a month's usage as CSV: `?month=2026-11`, by default the current month."""
        principal = get_principal(request)
        if principal is None or not self.has_view_permission(request):
            raise PermissionDenied
        month = parse_month(request.GET.get("month", ""))
        if month is None:
            raise BadRequest("This month is not valid.")
        audit.record(principal, "usage.exported", f"{month:%Y-%m}")
        return export_usage_csv(Usage.objects.visible_to(principal), month)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        """Add the sums by month."""
        principal = get_principal(request)
        months = sum_by_month(Usage.objects.visible_to(principal)) if principal else []
        exports = dict.fromkeys(row["month"] for row in months)
        response: HttpResponseBase = super().changelist_view(
            request, {**(extra_context or {}), "months": months, "exports": exports}
        )
        return response

    @display(description=gettext_lazy("member"))
    def render_member(self, row: Usage) -> str:
        """Return the name of the member, or “the company”."""
        return row.member.name if row.member else _("the company")

    @display(description=gettext_lazy("model or collection"), ordering="model")
    def render_what(self, row: Any) -> str:
        """Return the model or collection."""
        return get_usage_source(row.model, row.kind, {row.model: row.store} if row.store else {})

    @display(description=gettext_lazy("answer"))
    def render_run(self, row: Usage) -> str:
        """Render a link to the trace of the answer."""
        if row.run_id is None:
            return ""
        return format_html(
            '<a class="admin-link" href="{}">{}</a>', get_run_url(row.run_id), row.run_id
        )

    @display(description=gettext_lazy("outcome"), ordering="outcome")
    def render_outcome(self, row: Usage) -> str:
        """Return the outcome of the call, and whether its tokens are an estimate."""
        return get_outcome_label(row.outcome, estimated=row.estimated)

    @display(description=gettext_lazy("quantity"), ordering="quantity")
    def amount(self, row: Usage) -> str:
        """Return the quantity with its unit."""
        quantity = number_format(row.quantity.normalize(), force_grouping=True)
        if row.kind == UsageKind.CODE_SESSION:
            return ngettext(
                "{count} code session", "{count} code sessions", int(row.quantity)
            ).format(count=quantity)
        unit = row.unit if row.kind == UsageKind.STORAGE else get_kind_label(row.kind)
        return f"{quantity} {unit}"

    @display(description=gettext_lazy("price"))
    def render_price(self, row: Usage) -> str:
        """Return the price per million tokens with its source, or per other unit."""
        if row.price is None:
            return _("unknown")
        if row.unit != "token":
            return _("{price} {currency} per {unit}").format(
                price=f"{row.price.normalize():f}", currency=row.currency, unit=row.unit
            )
        per_million = f"{row.price * 1_000_000:.2f}"
        return _("{price} {currency} per million ({source})").format(
            price=per_million, currency=row.currency, source=row.price_source
        )

    @display(description=gettext_lazy("cost"))
    def cost(self, row: Usage) -> str:
        """Return quantity times price."""
        return "" if row.price is None else f"{row.price * row.quantity:.6f} {row.currency}"
