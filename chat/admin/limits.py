"""Limits on one answer, and the company's own prices."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils.html import escape
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from chat.actions.settings import delete_price, set_price, update_limits
from chat.admin.one_row import OneRowAdmin
from chat.admin.tool_choice import ToolChoiceField, filter_registered
from chat.models import Assistant, Price, TenantPolicy
from chat.runs.billing.limits import has_unknown_price
from tenants.admin import Group, TenantForm, TenantScopedAdmin, site
from tenants.authentication import Principal
from tenants.models import Role

MAX_ASSISTANTS = 1_000


class LimitsForm(TenantForm):
    """Empty fields leave a limit to the installation."""

    approval_tools = ToolChoiceField(
        label=_("Ask before using"),
        required=False,
        help_text=_(
            "The chat waits until the person approves the exact arguments. Tools that delete or "
            "cancel always ask."
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
            "With a limit, assistants on these models cannot answer until an owner sets their "
            "price in US dollars: {models}."
        ).format(models=", ".join(names))
    ]


@admin.register(TenantPolicy, site=site)
class TenantPolicyAdmin(OneRowAdmin):
    """What one answer may use. Owners set it, admins see it."""

    group = Group.COMPANY
    icon = "speed"
    menu = _("Limits")
    may_add = may_change = Role.OWNER
    form = LimitsForm
    fieldsets = (
        (_("How much one answer may use"), {"fields": ("max_tokens_per_run", "max_cost_per_run")}),
        (_("What needs a person's approval"), {"fields": ("approval_tools",)}),
    )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Name the models without a price also for those who see the limits and no form."""
        first, *others = super().get_fieldsets(request, obj)
        if self.has_change_permission(request, obj):
            return [first, *others]
        title, options = first
        # Shown as HTML, and models have names that people chose.
        told = escape(" ".join(describe_unpriced_models()))
        return [(title, {**options, "description": told}), *others]

    def write(
        self, principal: Principal, row: Any, form: TenantForm, *, change: bool
    ) -> TenantPolicy:
        """Set them."""
        return update_limits(principal, version=form.version, **form.cleaned_data)

    def get_trail_filter(self, row: Any) -> models.Q:
        """There is one row, which its events do not name."""
        return models.Q(action="limits.changed")


@admin.register(Price, site=site)
class PriceAdmin(TenantScopedAdmin):
    """Prices that win over the public table."""

    group = Group.COMPANY
    icon = "sell"
    menu = _("Prices")
    may_add = may_change = may_delete = Role.OWNER
    list_display = ("kind", "model", "price", "currency")
    ordering = ("kind", "model")
    fields = ("kind", "model", "price", "currency")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """A price of another model is another price."""
        return ("model", "kind") if obj else ()

    def write(self, principal: Principal, row: Any, form: TenantForm, *, change: bool) -> Price:
        """Set it."""
        fields = {"model": row.model, "kind": row.kind, **form.cleaned_data}
        return set_price(principal, version=form.version, **fields)

    def erase(self, principal: Principal, row: Any) -> None:
        """Forget it."""
        delete_price(principal, row.pk)

    def get_trail_filter(self, row: Any) -> models.Q:
        """Numbers are ids of other rows too."""
        return models.Q(action__startswith="price.", data__id=str(row.pk))
