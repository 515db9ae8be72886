"""Operator pages: list and enter companies, reset passwords and two-factor authentication."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.csrf import rotate_token
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST
from unfold.widgets import UnfoldAdminEmailInputWidget, UnfoldAdminTextInputWidget

from chat.admin.people import build_invitation_path
from chat.admin.secrets import mail_invitation, render_secret
from tenants.accounts.adapter import get_base_url
from tenants.actions import (
    create_tenant,
    enter_tenant,
    invite,
    leave_tenant,
    make_reset_link,
    remove_second_factor,
    resume_tenant,
    suspend_tenant,
)
from tenants.admin import ExtraPage, Group, is_operator, site
from tenants.authentication import get_operator_principal
from tenants.db import call_privileged
from tenants.errors import AtriumError
from tenants.models import Role, User

COLUMNS = ("id", "slug", "name", "created_at", "suspended_at", "members")


class CompanyForm(forms.Form):
    """Form for a new company and its first owner."""

    name = forms.CharField(
        label=gettext_lazy("Name"), max_length=100, widget=UnfoldAdminTextInputWidget
    )
    slug = forms.CharField(
        label=gettext_lazy("Short name"),
        max_length=50,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("Lowercase letters, digits and hyphens. Used in commands and logs."),
    )
    email = forms.EmailField(
        label=gettext_lazy("First owner's e-mail address"),
        required=False,
        widget=UnfoldAdminEmailInputWidget,
        help_text=gettext_lazy("You get a link to send to this address."),
    )


class AddressForm(forms.Form):
    """Form for the account whose password or second factor was lost."""

    email = forms.EmailField(
        label=gettext_lazy("E-mail address"), widget=UnfoldAdminEmailInputWidget
    )


def list_companies(request: HttpRequest) -> HttpResponseBase:
    """List the companies by name, with counts but without any of their content."""
    return _render_page(request)


@require_POST
def add_company(request: HttpRequest) -> HttpResponseBase:
    """Create a company, and an invitation if a first owner is given."""
    form = CompanyForm(request.POST)
    if not form.is_valid():
        return _render_page(request, form=form)
    fields = form.cleaned_data
    operator = _get_operator(request)
    try:
        tenant = create_tenant(operator, fields["slug"], name=fields["name"])
    except AtriumError as error:
        form.add_error(error.param if error.param in form.fields else None, error.message)
        return _render_page(request, form=form)
    if not fields["email"]:
        messages.success(request, _("{name} has been created.").format(name=tenant.name))
        return redirect("admin:companies")
    principal = get_operator_principal(operator, tenant.pk)
    if principal is None:
        raise PermissionDenied
    _invitation, token = invite(principal, fields["email"], role=Role.OWNER)
    link = get_base_url(request) + build_invitation_path(token)
    says = _("Send this link to {address}. It is shown only here and works once.").format(
        address=fields["email"]
    )
    return render_secret(
        request,
        title=_("First owner of {company}").format(company=tenant.name),
        says=f"{says} {mail_invitation(tenant, fields['email'], link)}",
        secret=link,
        onward=reverse("admin:companies"),
    )


@require_POST
def change_company(request: HttpRequest, company: UUID, verb: str) -> HttpResponseBase:
    """Suspend, resume or enter a company."""
    operator = _get_operator(request)
    try:
        if verb == "enter":
            enter_tenant(operator, request.session, company)
            rotate_token(request)  # forms opened before the switch must not act in this company
            return redirect("admin:index")
        act, sentence = {
            "suspend": (
                suspend_tenant,
                _("{name} is suspended. Its members can no longer sign in."),
            ),
            "resume": (resume_tenant, _("{name} is no longer suspended.")),
        }[verb]
        messages.success(request, sentence.format(name=act(operator, company).name))
    except AtriumError as error:
        messages.error(request, error.message)
    return redirect("admin:companies")


@require_POST
def leave_company(request: HttpRequest) -> HttpResponseBase:
    """Leave the entered company."""
    leave_tenant(_get_operator(request), request.session)
    rotate_token(request)
    return redirect("admin:companies")


@require_POST
def create_reset_link(request: HttpRequest) -> HttpResponseBase:
    """Create a password reset link for an account."""
    form = AddressForm(request.POST, prefix="reset")
    if not form.is_valid():
        return _render_page(request, reset=form)
    try:
        link = make_reset_link(
            _get_operator(request), form.cleaned_data["email"], base_url=get_base_url(request)
        )
    except AtriumError as error:
        form.add_error("email", error.message)
        return _render_page(request, reset=form)
    return render_secret(
        request,
        title=_("New password for {address}").format(address=form.cleaned_data["email"]),
        says=_(
            "Send this link only to the owner of the account: anyone who opens it can set the "
            "password. It works once."
        ),
        secret=link,
        onward=reverse("admin:companies"),
    )


@require_POST
def remove_factor(request: HttpRequest) -> HttpResponseBase:
    """Remove the second factors of an account that lost them."""
    form = AddressForm(request.POST, prefix="factor")
    if not form.is_valid():
        return _render_page(request, factor=form)
    address = form.cleaned_data["email"]
    try:
        remove_second_factor(_get_operator(request), address)
    except AtriumError as error:
        form.add_error("email", error.message)
        return _render_page(request, factor=form)
    messages.success(
        request, _("Two-factor authentication was removed for {address}.").format(address=address)
    )
    return redirect("admin:companies")


def _get_operator(request: HttpRequest) -> User:
    user: Any = request.user
    if not isinstance(user, User):
        raise PermissionDenied
    return user


def _render_page(request: HttpRequest, **forms_given: forms.Form) -> HttpResponseBase:
    """Render the page with the rejected forms; the other forms are empty."""
    with transaction.atomic():
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in call_privileged("operator_tenants")]
        context = {
            **site.each_context(request),
            "title": _("Companies"),
            "companies": rows,
            "form": CompanyForm(),
            "reset": AddressForm(prefix="reset"),
            "factor": AddressForm(prefix="factor"),
            **forms_given,
        }
        return TemplateResponse(request, "admin/companies.html", context).render()


for _path, _name, _view in (
    ("companies/add/", "companies_add", add_company),
    ("companies/leave/", "companies_leave", leave_company),
    ("companies/reset-link/", "companies_reset_link", create_reset_link),
    ("companies/second-factor/", "companies_second_factor", remove_factor),
):
    site.add_page(
        ExtraPage(path=_path, name=_name, view=_view, allowed=is_operator, transactional=False)
    )
for _verb in ("suspend", "resume", "enter"):
    site.add_page(
        ExtraPage(
            path=f"companies/<uuid:company>/{_verb}/",
            name=f"companies_{_verb}",
            view=lambda request, company, verb=_verb: change_company(request, company, verb),
            allowed=is_operator,
            transactional=False,
        )
    )
site.add_page(
    ExtraPage(
        path="companies/",
        name="companies",
        view=list_companies,
        allowed=is_operator,
        title=gettext_lazy("Companies"),
        icon="apartment",
        group=Group.PLATFORM,
        transactional=False,
    )
)
