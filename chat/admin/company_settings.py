"""Settings of the company: a single form."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminColorInputWidget, UnfoldAdminSelectWidget

from chat.actions.assistants.manage import set_default_assistant
from chat.admin.bases import SingletonAdmin
from chat.models import Assistant
from tenants.actions import update_tenant_settings
from tenants.admin import Group, TenantForm, is_owner, site
from tenants.authentication import Principal
from tenants.models import Role, Tenant


class OwnCompanyForm(TenantForm):
    """Form for the name, colour, default assistant and privacy of the company."""

    default_assistant = forms.ChoiceField(
        label=gettext_lazy("Default assistant"),
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text=gettext_lazy("New chats start with this assistant. Members can choose another."),
    )

    class Meta:
        model = Tenant
        fields = ("name", "color", "admins_read_threads")
        widgets = {"color": UnfoldAdminColorInputWidget(attrs={"type": "color"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        assistants = list(Assistant.objects.all().offered())
        field: Any = self.fields["default_assistant"]
        field.choices = [("", _("None")), *((row.pk, row.name) for row in assistants)]
        field.initial = next((row.pk for row in assistants if row.is_default), "")


@admin.register(Tenant, site=site)
class CompanyAdmin(SingletonAdmin):
    """Admin of the company's appearance, default assistant and privacy."""

    group = Group.COMPANY
    icon = "domain"
    menu = gettext_lazy("Company settings")
    may_change = Role.ADMIN
    form = OwnCompanyForm
    fieldsets = (
        (gettext_lazy("Appearance"), {"fields": ("name", "color")}),
        (gettext_lazy("New chats"), {"fields": ("default_assistant",)}),
        (
            gettext_lazy("Privacy"),
            {
                "fields": ("admins_read_threads",),
                "description": gettext_lazy(
                    "Chats are private to the members who write them. While this is on, all admins "
                    "and owners can read every chat here, including past ones. Each such period "
                    "is recorded. Each chat that is opened is recorded in the audit log and in its "
                    "member's profile. Members are notified."
                ),
            },
        ),
    )

    def get_visible_rows(self, principal: Principal) -> models.QuerySet[Any]:
        """Return the company's own row."""
        return Tenant.objects.all()

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False: only operators create companies."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Make the privacy setting read-only for all but owners."""
        return () if is_owner(request) else ("admins_read_threads",)

    def write(self, principal: Principal, row: Any, form: TenantForm, *, change: bool) -> Tenant:
        """Update the settings, and the default assistant if another was chosen."""
        fields = dict(form.cleaned_data)
        chosen = fields.pop("default_assistant")
        tenant = update_tenant_settings(principal, version=form.version, **fields)
        if chosen and "default_assistant" in form.changed_data:
            set_default_assistant(principal, chosen)
        return tenant

    def get_trail_filter(self, row: Any) -> models.Q:
        """Match the events of the company settings and of its default assistant."""
        default = models.Q(action="assistant.changed", data__fields__contains=["is_default"])
        return models.Q(subject=row.slug, action__startswith="tenant.") | default
