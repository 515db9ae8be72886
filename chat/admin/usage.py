"""What was used and what it cost."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import models
from django.db.models import F, Sum
from django.db.models.functions import TruncMonth
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from chat.admin.chats import run_address
from chat.models import Usage
from tenants.access import Principal
from tenants.admin import Group, TenantScopedAdmin, principal_of, site

MONTHS = 12
KINDS = {
    "input_tokens": gettext_lazy("tokens read"),
    "output_tokens": gettext_lazy("tokens written"),
}


def by_month(rows: models.QuerySet[Any]) -> list[dict[str, Any]]:
    """Return sums of the newest months by model, kind and currency, newest first."""
    return list(
        rows.annotate(month=TruncMonth("created_at"))
        .values("month", "model", "kind", "unit", "currency")
        .annotate(used=Sum("quantity"), cost=Sum(F("quantity") * F("price")))
        .order_by("-month", "model", "kind")[: MONTHS * 20]
    )


@admin.register(Usage, site=site)
class UsageAdmin(TenantScopedAdmin):
    """Each upstream call's quantities, with sums by month above."""

    group = Group.CHATS
    icon = "receipt_long"
    paginator = InfinitePaginator
    list_before_template = "admin/chat/months.html"
    list_display = (
        "created_at",
        "shows_member",
        "model",
        "amount",
        "shows_price",
        "cost",
        "outcome",
    )
    list_filter = ("created_at",)
    ordering = ("-created_at", "-id")
    fields = (
        "created_at",
        "shows_member",
        "shows_run",
        "model",
        "amount",
        "shows_price",
        "cost",
        "outcome",
    )
    readonly_fields = fields

    def visible(self, principal: Principal) -> models.QuerySet[Any]:
        """Return the company's usage."""
        rows: models.QuerySet[Any] = Usage.objects.for_principal(principal)
        return rows.select_related("member")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        """Add the sums."""
        principal = principal_of(request)
        months = by_month(Usage.objects.for_principal(principal)) if principal else []
        response: HttpResponseBase = super().changelist_view(
            request, {**(extra_context or {}), "months": months}
        )
        return response

    @display(description=gettext_lazy("member"))
    def shows_member(self, row: Usage) -> str:
        """Who used it."""
        return row.member.name

    @display(description=gettext_lazy("answer"))
    def shows_run(self, row: Usage) -> str:
        """The trace of the answer."""
        if row.run_id is None:
            return ""
        return format_html(
            '<a class="admin-link" href="{}">{}</a>', run_address(row.run_id), row.run_id
        )

    @display(description=gettext_lazy("used"), ordering="quantity")
    def amount(self, row: Usage) -> str:
        """Quantity with its unit."""
        quantity = number_format(row.quantity.normalize(), force_grouping=True)
        return f"{quantity} {KINDS.get(row.kind, row.kind)}"

    @display(description=gettext_lazy("price"))
    def shows_price(self, row: Usage) -> str:
        """What a million cost, and who said so."""
        if row.price is None:
            return _("unknown")
        per_million = f"{row.price * 1_000_000:.2f}"
        return _("{price} {currency} per million ({source})").format(
            price=per_million, currency=row.currency, source=row.price_source
        )

    @display(description=gettext_lazy("cost"))
    def cost(self, row: Usage) -> str:
        """Quantity times price."""
        return "" if row.price is None else f"{row.price * row.quantity:.6f} {row.currency}"
