"""Admin of members and invitations; it shows memberships, never accounts."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import models
from django.db.models import Max, OuterRef, Subquery
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.decorators import display

from chat.admin.bases import CreateOnlyAdmin
from chat.admin.secrets import mail_invitation, render_secret
from chat.models import Thread
from tenants import clock
from tenants.accounts.adapter import get_base_url
from tenants.actions import (
    change_role,
    disable_member,
    enable_member,
    invite,
    remove_member,
    sign_out_member,
    waive_second_factor,
    withdraw_invitation,
)
from tenants.admin import Button, Group, TenantForm, TenantScopedAdmin, get_principal, site
from tenants.authentication import Principal
from tenants.models import Invitation, MemberKind, Membership, Role

STATUS_LABELS = {"active": "success", "disabled": "warning"}
INVITATION_LABELS = {
    "open": "info",
    "accepted": "success",
    "withdrawn": "default",
    "expired": "default",
}


def build_invitation_path(token: str) -> str:
    """Return the path of an invitation's page."""
    return f"/invitations/{token}/"


class RoleForm(TenantForm):
    """Form that offers the roles this person may assign."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        role: Any = self.fields.get("role")
        if role is None:
            return
        role.help_text = _(
            "Members can chat. Admins also manage assistants, members and invitations. Owners also "
            "manage other people's keys, limits and prices."
        )
        if not self.principal.is_owner and self.instance.role != Role.OWNER:
            role.choices = [choice for choice in Role.choices if choice[0] != Role.OWNER]


class KindFilter(admin.SimpleListFilter):
    """List filter by kind of member; external users are hidden unless chosen."""

    title = gettext_lazy("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the kinds of member."""
        return list(MemberKind.choices)

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> Any:
        """Return the chosen kind, by default all but external users."""
        if self.value() in MemberKind.values:
            return queryset.filter(kind=self.value())
        return queryset.exclude(kind=MemberKind.EXTERNAL)

    def choices(self, changelist: Any) -> Any:
        """Yield the choices, with the default one labelled “People and programs”."""
        for place, choice in enumerate(super().choices(changelist)):
            yield {**choice, "display": _("People and programs")} if place == 0 else choice


@admin.register(Membership, site=site)
class MembershipAdmin(TenantScopedAdmin):
    """Admin of members, with their last chat."""

    group = Group.PEOPLE
    icon = "group"
    may_change = may_delete = Role.ADMIN
    trail_key = "member"
    form = RoleForm
    list_display = ("name", "kind", "email", "role", "render_status", "created_at", "last_chat")
    list_filter = (KindFilter, "role")
    search_fields = ("name", "email")
    ordering = ("name", "id")
    fields = ("name", "kind", "email", "render_sponsor", "status_text", "created_at", "role")
    readonly_fields = fields[:-1]
    delete_word = gettext_lazy("Remove from the company")
    delete_confirmation_template = "admin/chat/remove_member.html"

    def get_visible_rows(self, principal: Principal) -> models.QuerySet[Any]:
        """Return the current members, annotated with the time of their newest chat."""
        newest = (
            Thread.objects.filter(member=OuterRef("pk"))
            .order_by()
            .values("member")
            .annotate(newest=Max("updated_at"))
        )
        queryset: models.QuerySet[Any] = Membership.objects.visible_to(principal).annotate(
            chatted_at=Subquery(newest.values("newest")[:1])
        )
        return queryset

    def write(
        self, principal: Principal, row: Any, form: TenantForm, *, change: bool
    ) -> Membership:
        """Change the role."""
        return change_role(principal, row.pk, role=form.cleaned_data["role"], version=form.version)

    def erase(self, principal: Principal, row: Any) -> None:
        """End the membership."""
        remove_member(principal, row.pk)

    @display(description=gettext_lazy("status"), label=STATUS_LABELS)
    def render_status(self, row: Membership) -> tuple[str, str]:
        """Return whether the member is active or disabled."""
        return ("active", _("active")) if row.is_active else ("disabled", _("disabled"))

    @display(description=gettext_lazy("user of"))
    def render_sponsor(self, row: Membership) -> str:
        """Return the program whose keys act for this external user."""
        return row.sponsor.name if row.sponsor else ""

    @display(description=gettext_lazy("last chat"), ordering="chatted_at")
    def last_chat(self, row: Any) -> Any:
        """Return the time of the last chat in this company; other companies stay private."""
        return row.chatted_at

    @staticmethod
    def disable(principal: Principal, row: Membership) -> str:
        """Handle the “Disable” button."""
        disable_member(principal, row.pk)
        return _("{name} has been disabled.").format(name=row.name)

    @staticmethod
    def enable(principal: Principal, row: Membership) -> str:
        """Handle the “Enable” button."""
        enable_member(principal, row.pk)
        return _("{name} has been enabled.").format(name=row.name)

    @staticmethod
    def sign_out(principal: Principal, row: Membership) -> str:
        """Handle the “Sign out” button."""
        sign_out_member(principal, row.pk)
        return _("{name} has been signed out of this company on all devices.").format(name=row.name)

    @staticmethod
    def waive(principal: Principal, row: Membership) -> str:
        """Handle the “Waive two-factor authentication” button."""
        waive_second_factor(principal, row.pk)
        return _(
            "{name} can sign in to this company once without two-factor authentication within "
            "three days."
        ).format(name=row.name)

    buttons = (
        Button(
            name="waive-second-factor",
            label=gettext_lazy("Waive two-factor authentication"),
            says=gettext_lazy(
                "For a member who lost their second factor: their next sign-in to this company "
                "skips it and sets up a new one for this company. Other companies are not affected."
            ),
            do=waive,
            shown=lambda principal, row: (
                principal.is_owner
                and row.is_active
                and row.kind == MemberKind.PERSON
                and row.pk != principal.membership_id
            ),
            danger=True,
        ),
        Button(
            name="sign-out",
            label=gettext_lazy("Sign out"),
            says=gettext_lazy(
                "Signs them out of this company on all devices. They can sign in again."
            ),
            do=sign_out,
            shown=lambda principal, row: row.is_active and row.kind == MemberKind.PERSON,
        ),
        Button(
            name="disable",
            label=gettext_lazy("Disable"),
            says=gettext_lazy("They lose access until you enable them. Their chats are kept."),
            do=disable,
            shown=lambda principal, row: row.is_active,
            danger=True,
        ),
        Button(
            name="enable",
            label=gettext_lazy("Enable"),
            says=gettext_lazy("They regain access, including to their earlier chats."),
            do=enable,
            shown=lambda principal, row: not row.is_active,
        ),
    )


@admin.register(Invitation, site=site)
class InvitationAdmin(CreateOnlyAdmin):
    """Admin of invitations and their status."""

    group = Group.PEOPLE
    icon = "mail"
    may_add = Role.ADMIN
    trail_key = "invitation"
    form = RoleForm
    list_display = ("email", "role", "render_status", "created_at", "expires_at", "render_inviter")
    search_fields = ("email",)
    ordering = ("-created_at", "-id")
    asked = ("email", "role")
    shown = ("email", "role", "status_text", "created_at", "expires_at", "render_inviter")

    def get_visible_rows(self, principal: Principal) -> models.QuerySet[Any]:
        """Return the company's invitations."""
        rows: models.QuerySet[Any] = Invitation.objects.visible_to(principal)
        return rows.select_related("invited_by")

    def write(
        self, principal: Principal, row: Any, form: forms.Form, *, change: bool
    ) -> Invitation:
        """Create the invitation; its token travels on the row to the page that shows it once."""
        invitation, token = invite(
            principal, form.cleaned_data["email"], role=form.cleaned_data["role"]
        )
        invitation.token = token  # type: ignore[attr-defined]
        return invitation

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponseBase:
        """Mail the link; show it once to operators, and if no mail can be sent.

        The holder of the link passes for the invited person, so an admin is shown only links
        that prove no address.
        """
        principal = get_principal(request)
        assert principal is not None
        link = get_base_url(request) + build_invitation_path(obj.token)
        onward = reverse("admin:tenants_invitation_changelist")
        if obj.proves_address and principal.operator is None:
            messages.success(request, mail_invitation(principal.tenant, obj.email, link))
            return redirect(onward)
        says = _(
            "Send them this link. It works once, expires after seven days and is not shown again. "
            "If it gets lost, invite them again."
        )
        return render_secret(
            request,
            title=_("Invitation for {address}").format(address=obj.email),
            says=f"{says} {mail_invitation(principal.tenant, obj.email, link)}",
            secret=link,
            onward=onward,
        )

    @display(description=gettext_lazy("status"), label=INVITATION_LABELS)
    def render_status(self, row: Invitation) -> tuple[str, str]:
        """Return whether the invitation is open, accepted, withdrawn or expired."""
        if row.accepted_at:
            return "accepted", _("accepted")
        if row.withdrawn_at:
            return "withdrawn", _("withdrawn")
        if row.expires_at <= clock.now():
            return "expired", _("expired")
        return "open", _("open")

    @display(description=gettext_lazy("invited by"))
    def render_inviter(self, row: Invitation) -> str:
        """Return the name of the inviter."""
        return format_html("{}", row.invited_by.name if row.invited_by else _("operator"))

    @staticmethod
    def withdraw(principal: Principal, row: Invitation) -> str:
        """Handle the “Withdraw” button."""
        withdraw_invitation(principal, row.pk)
        return _("The link for {address} no longer works.").format(address=row.email)

    buttons = (
        Button(
            name="withdraw",
            label=gettext_lazy("Withdraw"),
            says=gettext_lazy("The link stops working immediately."),
            do=withdraw,
            shown=lambda principal, row: not (row.accepted_at or row.withdrawn_at),
            danger=True,
        ),
    )
