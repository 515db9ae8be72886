"""Admin of limits per answer and of the company's own prices."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils.html import escape
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from chat.actions.settings import delete_price, set_price, update_limits
from chat.admin.bases import SingletonAdmin
from chat.admin.tool_choice import ToolChoiceField, filter_registered
from chat.models import Assistant, Price, TenantPolicy
from chat.runs.billing.limits import has_unknown_price
from tenants.admin import Group, TenantForm, TenantScopedAdmin, site
from tenants.authentication import Principal
from tenants.models import Role

MAX_ASSISTANTS = 1_000


class LimitsForm(TenantForm):
    """Form of the limits; an empty field applies the installation's limit."""

    approval_tools = ToolChoiceField(
        label=_("Require approval"),
        required=False,
        help_text=_(
            "The chat waits until the member approves the exact arguments. Tools that delete or "
            "cancel always require approval."
        ),
    )

    class Meta:
        model = TenantPolicy
        fields = ("max_tokens_per_run", "max_cost_per_run", "approval_tools")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["approval_tools"] = filter_registered(self.instance.approval_tools)
        cost = self.fields.get("max_cost_per_run")
        if cost is not None:
            cost.help_text = " ".join([str(cost.help_text), *describe_unpriced_models()])


def describe_unpriced_models() -> list[str]:
    """Return a sentence that names the models in use without a price in US dollars, if any.

    Must run in the tenant's scope and a transaction.
    """
    used = Assistant.objects.filter(enabled=True).order_by("model", "pk")
    names = dict.fromkeys(
        assistant.model
        for assistant in used[:MAX_ASSISTANTS]
        if has_unknown_price(assistant.model, assistant.upstream, assistant.tools)
    )
    if not names:
        return []
    return [
        gettext(
            "With a cost limit, assistants on these models cannot answer until an owner sets "
            "their price in US dollars: {models}."
        ).format(models=", ".join(names))
    ]


@admin.register(TenantPolicy, site=site)
class TenantPolicyAdmin(SingletonAdmin):
    """Admin of the limits per answer: set by owners, visible to admins."""

    group = Group.COMPANY
    icon = "speed"
    menu = _("Limits")
    may_add = may_change = Role.OWNER
    form = LimitsForm
    fieldsets = (
        (_("Limits per answer"), {"fields": ("max_tokens_per_run", "max_cost_per_run")}),
        (_("Tool approval"), {"fields": ("approval_tools",)}),
    )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Name unpriced models also to admins, who see the limits without a form."""
        first, *others = super().get_fieldsets(request, obj)
        if self.has_change_permission(request, obj):
            return [first, *others]
        title, options = first
        # The description is rendered as HTML, and model names are user input.
        description = escape(" ".join(describe_unpriced_models()))
        return [(title, {**options, "description": description}), *others]

    def write(
        self, principal: Principal, row: Any, form: TenantForm, *, change: bool
    ) -> TenantPolicy:
        """Update the limits."""
        return update_limits(principal, version=form.version, **form.cleaned_data)

    def get_trail_filter(self, row: Any) -> models.Q:
        """Match by action: the events do not name the company's single row."""
        return models.Q(action="limits.changed")


@admin.register(Price, site=site)
class PriceAdmin(TenantScopedAdmin):
    """Admin of prices that override the public table."""

    group = Group.COMPANY
    icon = "sell"
    menu = _("Prices")
    may_add = may_change = may_delete = Role.OWNER
    list_display = ("kind", "model", "price", "currency")
    ordering = ("kind", "model")
    fields = ("kind", "model", "price", "currency")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Fix model and kind of an existing price: they identify it."""
        return ("model", "kind") if obj else ()

    def write(self, principal: Principal, row: Any, form: TenantForm, *, change: bool) -> Price:
        """Create or update the price."""
        fields = {"model": row.model, "kind": row.kind, **form.cleaned_data}
        return set_price(principal, version=form.version, **fields)

    def erase(self, principal: Principal, row: Any) -> None:
        """Delete the price."""
        delete_price(principal, row.pk)

    def get_trail_filter(self, row: Any) -> models.Q:
        """Match by action too, because ids of other tables have the same numbers."""
        return models.Q(action__startswith="price.", data__id=str(row.pk))
