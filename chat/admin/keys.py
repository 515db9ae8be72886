"""Admin of API keys: created, shown once, revoked."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.decorators import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminSelectWidget

from chat.admin.bases import CreateOnlyAdmin
from chat.admin.secrets import render_secret
from tenants import clock
from tenants.accounts.recent_sign_in import has_recent_sign_in, redirect_to_reauthentication
from tenants.actions import create_api_key, revoke_api_key
from tenants.admin import Button, Group, TenantForm, site
from tenants.authentication import Principal
from tenants.models import ApiKey, MemberKind, Membership, Role

STATUS_LABELS = {"usable": "success", "revoked": "danger", "expired": "default"}
SCOPES = [
    ("read", gettext_lazy("Read: chats, answers and assistants of the member it acts for")),
    ("write", gettext_lazy("Write: send messages, start and stop answers")),
    ("admin", gettext_lazy("Administer: assistants and files, if the member is allowed to")),
    (
        "act_for_users",
        gettext_lazy("Act on behalf of the program's end users (each gets separate chats)"),
    ),
]
NEW_PROGRAM = "new"
VALIDITY = [
    ("", gettext_lazy("until revoked")),
    ("30", gettext_lazy("30 days")),
    ("90", gettext_lazy("90 days")),
    ("365", gettext_lazy("one year")),
]


class AdminKeyForm(TenantForm):
    """Form of a new API key: its member or program, scopes and validity."""

    member_id = forms.TypedChoiceField(
        label=gettext_lazy("Acts for"),
        coerce=lambda chosen: None if chosen == NEW_PROGRAM else UUID(chosen),
        empty_value=None,
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text=gettext_lazy(
            "Anyone with the key can read and write these chats. A program has its own chats, "
            "separate from everyone else's. Only owners can add a program; it gets the name of "
            "its key."
        ),
    )
    rights = forms.MultipleChoiceField(
        label=gettext_lazy("Permissions"),
        choices=SCOPES,
        initial=["read", "write"],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    valid_for = forms.ChoiceField(
        label=gettext_lazy("Validity"),
        choices=VALIDITY,
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text=gettext_lazy("Choose an expiry so that unused keys don't stay active."),
    )

    class Meta:
        model = ApiKey
        fields = ("name",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        member: Any = self.fields["member_id"]
        own = self.principal.membership
        member.choices = [
            *([(str(own.pk), own.name)] if own else []),
            *(self._list_programs() if self.principal.is_owner else []),
        ]
        member.initial = member.choices[0][0]

    def _list_programs(self) -> list[tuple[str, str]]:
        programs = Membership.objects.all().active().filter(kind=MemberKind.PROGRAM)
        existing = [(str(row.pk), row.name) for row in programs.order_by("name", "id")]
        return [(NEW_PROGRAM, _("a new program")), *existing]


@admin.register(ApiKey, site=site)
class ApiKeyAdmin(CreateOnlyAdmin):
    """Admin of API keys: owners see all keys, admins all but other owners'.

    Secrets are shown only once, on creation.
    """

    group = Group.PEOPLE
    icon = "key"
    place = 1
    may_add = Role.ADMIN
    trail_key = "key"
    list_display = (
        "name",
        "prefix",
        "render_member",
        "render_status",
        "created_at",
        "last_used_at",
        "expires_at",
    )
    asked = ("name", "member_id", "rights", "valid_for")
    shown = (
        "name",
        "prefix",
        "render_member",
        "status_text",
        "render_scopes",
        "created_at",
        "last_used_at",
        "expires_at",
    )
    ordering = ("-created_at", "-id")

    def get_visible_rows(self, principal: Principal) -> models.QuerySet[Any]:
        """Return the keys that `principal` may see."""
        rows: models.QuerySet[Any] = ApiKey.objects.visible_to(principal)
        return rows.select_related("membership")

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """Use the form only for a new key; existing keys are read-only."""
        return super().get_form(
            request, obj, change=change, **({} if obj else {"form": AdminKeyForm}), **kwargs
        )

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        """Require a recent sign-in before a key is created."""
        if self.has_add_permission(request) and not has_recent_sign_in(request):
            return redirect_to_reauthentication(request)
        response: HttpResponseBase = super().add_view(request, form_url, extra_context)
        return response

    def write(self, principal: Principal, row: Any, form: forms.Form, *, change: bool) -> ApiKey:
        """Create the key; its secret travels on the row to the page that shows it once."""
        days = form.cleaned_data["valid_for"]
        until: datetime | None = clock.now() + timedelta(days=int(days)) if days else None
        key, secret = create_api_key(
            principal,
            name=form.cleaned_data["name"],
            member_id=form.cleaned_data["member_id"],
            program=None if form.cleaned_data["member_id"] else form.cleaned_data["name"],
            scopes=form.cleaned_data["rights"],
            expires_at=until,
        )
        key.secret = secret  # type: ignore[attr-defined]
        return key

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponseBase:
        """Show the secret once."""
        return render_secret(
            request,
            title=_("Key {name}").format(name=obj.name),
            says=_(
                "Copy this key now. It is not shown again. If you lose it, revoke it and create "
                "another."
            ),
            secret=obj.secret,
            onward=reverse("admin:tenants_apikey_changelist"),
        )

    @display(description=gettext_lazy("acts for"))
    def render_member(self, row: ApiKey) -> str:
        """Return the member or program whose rights the key has."""
        return row.membership.name

    @display(description=gettext_lazy("status"), label=STATUS_LABELS)
    def render_status(self, row: ApiKey) -> tuple[str, str]:
        """Return whether the key is usable, revoked or expired."""
        if row.revoked_at:
            return "revoked", _("revoked")
        if row.expires_at and row.expires_at <= clock.now():
            return "expired", _("expired")
        return "usable", _("active")

    @display(description=gettext_lazy("permissions"))
    def render_scopes(self, row: ApiKey) -> str:
        """Return the key's scopes."""
        return ", ".join(row.scopes)

    @staticmethod
    def revoke(principal: Principal, row: ApiKey) -> str:
        """Handle the “Revoke” button."""
        revoke_api_key(principal, row.pk)
        return _("{name} has been revoked.").format(name=row.name)

    buttons = (
        Button(
            name="revoke",
            label=gettext_lazy("Revoke"),
            says=gettext_lazy("Programs with this key lose access immediately and permanently."),
            do=revoke,
            shown=lambda principal, row: row.revoked_at is None,
            danger=True,
        ),
    )
