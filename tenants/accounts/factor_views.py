"""Sign-in with a waived second factor, and the setup of a company-only factor after it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import wraps
from typing import Any

import structlog
from allauth.account.internal.decorators import login_stage_required
from allauth.account.internal.stagekit import clear_login
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base.views import AuthenticateView
from allauth.mfa.stages import AuthenticateStage
from allauth.mfa.totp.internal.auth import clear_totp_secret
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from tenants.accounts.adapter import get_landing_page, is_sign_in_outdated
from tenants.accounts.forms import ActivateForm, show_error
from tenants.accounts.views import render_errors, renew_sign_in
from tenants.actions import list_waived_memberships, set_company_factor, use_waiver
from tenants.authentication import SessionLimit
from tenants.errors import AtriumError

log = structlog.get_logger(__name__)
require_mfa_stage = login_stage_required(
    stage=AuthenticateStage.key, redirect_urlname="account_login"
)


def log_shown_codes(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Log that a user viewed their recovery codes.

    It is not in the audit logs of companies: no company learns who has a second factor.
    """

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        context = getattr(response, "context_data", None) or {}
        if response.status_code == 200 and context.get("can_view_codes", True):
            log.info("recovery_codes_shown", user_id=request.user.pk)
        return response

    return wrapper


class CodeView(AuthenticateView):  # type: ignore[misc]
    """allauth's page for the MFA code, extended by the companies that waive the code."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the memberships that can be entered without a code."""
        waived = list_waived_memberships(self.stage.login.user)
        return {**super().get_context_data(**kwargs), "waived": waived}


@require_POST
@render_errors
@require_mfa_stage  # type: ignore[untyped-decorator]
def sign_in_with_waiver(request: HttpRequest) -> HttpResponse:
    """Complete a sign-in without the second factor, limited to the company that waived it."""
    stage: Any = request._login_stage  # type: ignore[attr-defined]
    if is_sign_in_outdated(request, stage.login.user):
        clear_login(request)
        return HttpResponseRedirect("/accounts/login/")
    membership = use_waiver(stage.login.user, request.POST.get("membership", ""))
    limit = SessionLimit(membership_id=membership.pk, must_set_up=True)
    request.company_only = limit  # type: ignore[attr-defined]
    response: HttpResponse = stage.exit()
    return response


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@login_required
@render_errors
def set_up_company_factor(request: HttpRequest) -> HttpResponse:
    """Set up a second factor for one company; required before the session opens other pages."""
    limit = SessionLimit.from_session(request.session)
    if limit is None or not limit.must_set_up:
        return HttpResponseRedirect(get_landing_page(request))
    data = request.POST if request.method == "POST" else None
    form = ActivateForm(data=data, user=request.user)
    if form.is_bound and form.is_valid() and _save_company_factor(request, limit, form):
        clear_totp_secret(request)
        SessionLimit(membership_id=limit.membership_id).store(request.session)
        renew_sign_in(request)
        messages.success(request, _("Two-factor authentication is set up for this company."))
        return HttpResponseRedirect("/")
    url = get_adapter().build_totp_url(request.user, form.secret)
    svg = base64.b64encode(get_adapter().build_totp_svg(url).encode()).decode()
    context = {"form": form, "qr": f"data:image/svg+xml;base64,{svg}"}
    status = 400 if form.is_bound else 200
    return render(request, "tenants/company_factor.html", context, status=status)


def _save_company_factor(request: HttpRequest, limit: SessionLimit, form: ActivateForm) -> bool:
    user: Any = request.user
    try:
        set_company_factor(
            user, limit.membership_id, secret=form.secret, code=form.cleaned_data["code"]
        )
    except AtriumError as error:
        show_error(form, error)
        return False
    return True
