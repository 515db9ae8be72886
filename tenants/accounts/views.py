"""Account pages: sign-in, company choice, profile, invitations."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.internal.flows.login import record_authentication
from allauth.account.views import LoginView, PasswordResetView
from allauth.core import ratelimit
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, logout
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.middleware.csrf import rotate_token
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from tenants.accounts.adapter import get_landing_page, is_sign_in_ended
from tenants.accounts.events import enter_company
from tenants.accounts.forms import JoinForm, NewAccountForm, ProfileForm, show_error
from tenants.accounts.sign_in_limits import remember_device, set_wait_status
from tenants.actions import (
    accept_invitation,
    find_invitation,
    update_profile,
)
from tenants.authentication import (
    SESSION_MEMBERSHIP,
    Principal,
    SessionLimit,
    has_full_access,
    list_memberships,
    list_session_memberships,
)
from tenants.error_pages import is_json_request, render_error
from tenants.errors import (
    AtriumError,
    InvalidInvitation,
    NotAllowed,
    NotFound,
    SecondFactorRequired,
    WrongAccount,
)
from tenants.models import Membership, User
from tenants.reading import MAX_READINGS, list_reading_periods, list_readings

View = Callable[..., HttpResponse]


def render_errors(view: View) -> View:
    """Return an error response if the view raises an AtriumError."""

    @wraps(view)
    def wrapper(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, **kwargs)
        except AtriumError as error:
            return render_error(request, error)

    return wrapper


def get_page_principal(request: HttpRequest) -> Principal | None:
    """Return the principal of a signed-in user; None for API keys, which have no pages."""
    principal: Principal | None = getattr(request, "principal", None)
    return None if principal is None or principal.key is not None else principal


class SignInView(LoginView):  # type: ignore[misc]
    """allauth's sign-in page without its redirect loop for users without a company."""

    def get_authenticated_redirect_url(self) -> str:
        """Return the page to which a signed-in user is redirected."""
        if get_page_principal(self.request) is None:
            return get_landing_page(self.request)
        return str(super().get_authenticated_redirect_url())


@method_decorator(never_cache, name="dispatch")
class RequestPasswordResetView(PasswordResetView):  # type: ignore[misc]
    """allauth's password reset page; without a mail server it says who can help instead."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Send the link if e-mail is configured; otherwise show the page again."""
        if not settings.EMAIL_URL:
            return self.get(request, *args, **kwargs)  # type: ignore[no-any-return]
        response: HttpResponse = super().post(request, *args, **kwargs)
        return response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add whether e-mail is configured."""
        return {**super().get_context_data(**kwargs), "mail": bool(settings.EMAIL_URL)}


def apply_wait_status(view: View) -> View:
    """Set status 429 if a password or code attempt in the view has to wait."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return set_wait_status(request, view(request, *args, **kwargs))

    return wrapper


@require_safe
@never_cache
@login_required
def choose_company(request: HttpRequest) -> HttpResponse:
    """Show the companies of the user, to choose one."""
    limit = SessionLimit.from_session(request.session)
    memberships = list_session_memberships(_get_user(request), request.session)
    if not memberships or (limit is not None and limit.must_set_up):
        return HttpResponseRedirect("/no-company/")
    principal = get_page_principal(request)
    context = {
        "memberships": memberships,
        "present": principal.membership_id if principal else None,
        "next": _get_safe_next(request, request.GET.get("next", "")),
        "company_only": limit is not None,
    }
    return render(request, "tenants/companies.html", context)


@require_POST
@never_cache
@login_required
@render_errors
def switch_company(request: HttpRequest) -> HttpResponse:
    """Switch the session to another membership of the user."""
    membership_id = request.POST.get("membership", "")
    memberships = [m for m in list_memberships(_get_user(request)) if str(m.pk) == membership_id]
    if not memberships:
        raise NotFound
    membership = memberships[0]
    if is_sign_in_ended(request.session, membership):
        logout(request)
        messages.warning(request, _("This company requires you to sign in again."))
        return HttpResponseRedirect("/accounts/login/")
    limit = SessionLimit.from_session(request.session)
    if limit is not None and limit.membership_id != membership.pk:
        logout(request)
        messages.warning(request, _("Sign in with two-factor authentication to open this company."))
        return HttpResponseRedirect("/accounts/login/")
    enter_company(request, membership)
    renew_sign_in(request)
    if is_json_request(request):
        return JsonResponse({"membership": str(membership.pk)})
    return HttpResponseRedirect(_get_safe_next(request, request.POST.get("next", "")) or "/")


@require_safe
@never_cache
@login_required
def show_no_company(request: HttpRequest) -> HttpResponse:
    """Show what a user without a company can do."""
    landing_url = get_landing_page(request)
    if landing_url != "/no-company/":
        return HttpResponseRedirect(landing_url)
    context = {"address": _get_user(request).email, "mail": bool(settings.EMAIL_URL)}
    return render(request, "tenants/no_company.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@login_required
@render_errors
def edit_profile(request: HttpRequest) -> HttpResponse:
    """Show and change the profile in this company; link to the settings of the account."""
    principal = get_page_principal(request)
    membership = principal.membership if principal else None
    form: Form | None = None
    if principal is not None and membership is not None:
        form = ProfileForm(request.POST or None, initial=_get_profile_data(membership))
        if request.method == "POST" and form.is_valid() and _save_profile(principal, form):
            messages.success(request, _("Saved."))
            return HttpResponseRedirect("/profile/")
    elif request.method == "POST":
        raise NotAllowed
    context = {
        "form": form,
        "membership": membership,
        **_get_reading_context(principal),
        "several": len(list_session_memberships(_get_user(request), request.session)) > 1,
        "company_only": not has_full_access(request.session),
        "mail": bool(settings.EMAIL_URL),
        "second_factor": Authenticator.objects.filter(user=_get_user(request)).exists(),
    }
    return render(request, "tenants/profile.html", context, status=_get_form_status(form))


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@sensitive_post_parameters("password")
@render_errors
def show_invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Show an invitation, and accept it with an existing or a new account.

    When signed out, the page does not reveal whether the address has an account.
    """
    found = find_invitation(token)
    # Per invitation, not per IP address: a whole office may join at the same time.
    if not ratelimit.consume(request, action="signup", key=token):
        rate_limited: HttpResponse = ratelimit.respond_429(request)
        return rate_limited
    user = _get_user(request) if request.user.is_authenticated else None
    if user is not None and not has_full_access(request.session):
        raise SecondFactorRequired
    if user is not None and user.email.lower() != found.email:
        context = {"invitation": found, "address": user.email, "wrong": WrongAccount().message}
        return render(request, "tenants/invitation.html", context, status=409)
    data = request.POST if request.method == "POST" else None
    known = user is not None
    if user is not None and user.address_proven_at is None and found.proves_address:
        user = None  # the password may not be theirs; a new one proves the address
    form = NewAccountForm(data) if user is None else JoinForm(data, initial=_get_initial_name(user))
    if request.method == "POST" and form.is_valid():
        membership = _join_company(token, user, form)
        if membership is not None:
            _enter_joined_company(request, membership, signs_in=user is None)
            response = HttpResponseRedirect("/")
            assert membership.user is not None  # nosec B101 - people have accounts
            remember_device(request, response, membership.user)
            return response
    context = {"invitation": found, "form": form, "known": known}
    return render(request, "tenants/invitation.html", context, status=_get_form_status(form))


def _join_company(token: str, user: User | None, form: Form) -> Membership | None:
    try:
        return accept_invitation(
            token,
            user=user,
            name=form.cleaned_data["name"],
            password=form.cleaned_data.get("password"),
        )
    except InvalidInvitation:
        raise
    except AtriumError as error:
        show_error(form, error)
        return None


def _enter_joined_company(request: HttpRequest, membership: Membership, *, signs_in: bool) -> None:
    """Sign in a new account, and enter the company just joined."""
    if signs_in:
        login(request, membership.user, backend=settings.AUTHENTICATION_BACKENDS[0])
        record_authentication(request, membership.user, method="password")
    current = request.session.get(SESSION_MEMBERSHIP)
    # The sign-in of a user with one membership has already entered it.
    if not signs_in or not current or current["id"] != str(membership.pk):
        enter_company(request, membership)
    renew_sign_in(request)


def renew_sign_in(request: HttpRequest) -> None:
    """Invalidate the sockets and forms of the previous company after a switch.

    Sockets are identified by the session key, so the key changes. A form of the previous company
    must not be submitted to the new one, so the CSRF token changes.
    """
    request.session.cycle_key()
    rotate_token(request)


def _get_reading_context(principal: Principal | None) -> dict[str, Any]:
    """Return the context that shows which admins could read the member's chats, and who did."""
    if principal is None or principal.membership is None:
        return {}
    with transaction.atomic():
        periods = list_reading_periods(principal.membership)
    return {
        "periods": periods,
        "readings": list_readings(principal),
        "max_readings": MAX_READINGS,
    }


def _save_profile(principal: Principal, form: Form) -> bool:
    try:
        update_profile(principal, **form.cleaned_data)
    except AtriumError as error:
        show_error(form, error)
        return False
    return True


def _get_profile_data(membership: Membership) -> dict[str, str]:
    return {"name": membership.name, "language": membership.language, "zone": membership.zone}


def _get_initial_name(user: User) -> dict[str, str]:
    return {"name": user.email.partition("@")[0]}


def _get_form_status(form: Form | None) -> int:
    return 400 if form is not None and form.is_bound and form.errors else 200


def _get_safe_next(request: HttpRequest, url: str) -> str:
    safe = url_has_allowed_host_and_scheme(url, {request.get_host()}, request.is_secure())
    return url if safe else ""


def _get_user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # nosec B101 - behind login_required
    return request.user
