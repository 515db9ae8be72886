"""allauth adapter: e-mail login, no open sign-up, post-login redirects."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.signals import password_changed, password_reset, password_set
from allauth.account.signals import user_logged_in as sign_in_completed
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import SessionBase
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.crypto import constant_time_compare
from django.utils.dateparse import parse_datetime
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _

from tenants import clock
from tenants.accounts import events
from tenants.accounts.events import enter_company
from tenants.accounts.sign_in_limits import get_password_attempt, remember_device, start_attempt
from tenants.actions import prove_by_reset
from tenants.actions.proof import lock_account
from tenants.actions.second_factors import remove_waivers
from tenants.authentication import (
    SESSION_COMPANY_ONLY,
    SessionLimit,
    get_session_principal,
    list_session_memberships,
)
from tenants.models import Membership, User

log = structlog.get_logger(__name__)
SESSION_SIGNED_IN = "signed_in_at"
# Session auth hash of the password that a pending sign-in used; removed when it completes.
SESSION_PENDING_HASH = "pending_password_hash"
DEFAULT_BASE_URL = "http://127.0.0.1:8000"


class ClosedAccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """allauth adapter without open sign-up: accounts are created by invitation only."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "account_inactive": _("This account is closed."),
        "email_password_mismatch": _("Incorrect email or password."),
        "incorrect_password": _("Incorrect password."),
        "rate_limited": _("Too many attempts. Try again in a few minutes."),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Return False, because allauth's sign-up page is open to everyone."""
        return False

    def is_safe_url(self, url: str) -> bool:
        """Return whether the URL stays on this site; a malformed URL is unsafe."""
        try:
            return bool(super().is_safe_url(url))
        except ValueError:
            return False

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        """Return the page to open after a sign-in without a `next` parameter."""
        return get_landing_page(request)

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        """Return the URL of the profile, where the password change started."""
        return "/profile/"

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Count the password attempt; allauth's own rate limits could lock the owner out."""
        self._attempt = get_password_attempt(request, str(credentials.get("email") or ""))
        start_attempt(request, self._attempt)

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        """Check the password; on success, reset the failure counter of this client."""
        user: User | None = super().authenticate(request, **credentials)
        if user is not None:
            self._attempt.succeed()
        return user

    def pre_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse | None:
        """Store the session auth hash of the password, because a second step may follow."""
        request.session[SESSION_PENDING_HASH] = user.get_session_auth_hash()
        response: HttpResponse | None = super().pre_login(request, user, **kwargs)
        return response

    def login(self, request: HttpRequest, user: User) -> None:
        """Sign in, unless the password has changed since this sign-in began."""
        if is_sign_in_outdated(request, user):
            raise ImmediateHttpResponse(HttpResponseRedirect("/accounts/login/"))
        request.session.pop(SESSION_PENDING_HASH, None)
        super().login(request, user)

    def set_password(self, user: User, password: str) -> None:
        """Store a new password, unless another one was stored since this request began.

        A concurrent request must not restore access that was revoked in the meantime.
        """
        old_hash = user.password
        user.set_password(password)
        unchanged = User.objects.filter(pk=user.pk, password=old_hash)
        if not unchanged.update(password=user.password):
            raise ImmediateHttpResponse(HttpResponseRedirect("/accounts/login/"))

    def get_reset_password_from_key_url(self, key: str) -> str:
        """Return the password reset link, based on the public URL."""
        path = f"/accounts/password/reset/key/{key}/"
        return get_base_url(self.request) + path


def is_sign_in_outdated(request: HttpRequest, user: User) -> bool:
    """Return whether the password of the account has changed since this sign-in began."""
    pending_hash = str(request.session.get(SESSION_PENDING_HASH, ""))
    return not constant_time_compare(pending_hash, user.get_session_auth_hash())


def get_display_name(user: User) -> str:
    """Return the name that allauth shows on pages and in e-mails: the e-mail address."""
    return user.email


def get_base_url(request: HttpRequest | None) -> str:
    """Return the base URL of this installation for links, without a trailing slash.

    Without PUBLIC_URL, it is the address on which the server accepted the connection or, for
    commands, the address that `manage.py up` serves. The Host header is never used in a link,
    because the client chooses it.
    """
    if settings.PUBLIC_URL:
        return str(settings.PUBLIC_URL)
    if request is None:
        read_served_address = import_string(settings.SERVED_ADDRESS)
        return read_served_address(Path(settings.DATA_DIR)) or DEFAULT_BASE_URL
    host, port = request.META.get("SERVER_NAME", ""), request.META.get("SERVER_PORT", "")
    if not host or not str(port).isdigit():  # not set for a Unix socket
        return DEFAULT_BASE_URL
    scheme = request.scheme or "http"
    url_host = f"[{host}]" if ":" in host else host
    default = {"http": "80", "https": "443"}.get(scheme)
    return f"{scheme}://{url_host}" if str(port) == default else f"{scheme}://{url_host}:{port}"


def get_landing_page(request: HttpRequest) -> str:
    """Return the first page for a signed-in user, depending on what the session may open."""
    limit = SessionLimit.from_session(request.session)
    if limit is not None and limit.must_set_up:
        return reverse("company_factor")
    if get_session_principal(request.user, request.session) is not None:
        return "/"
    user = request.user
    assert isinstance(user, User)  # nosec B101 - landing is for the signed-in
    if user.is_operator and limit is None:
        return "/admin/"
    return "/companies/" if list_session_memberships(user, request.session) else "/no-company/"


def is_sign_in_ended(session: SessionBase, membership: Membership) -> bool:
    """Return whether the company has ended this sign-in; switching back must not undo that."""
    if membership.signed_out_at is None:
        return False
    signed_in: datetime | None = parse_datetime(session.get(SESSION_SIGNED_IN, ""))
    return signed_in is None or signed_in <= membership.signed_out_at


def store_sign_in(*, request: HttpRequest, user: User, **kwargs: Any) -> None:
    """Store the time of the sign-in, and enter the company if there is only one membership.

    A sign-in without the account's second factor (`request.company_only`) is limited to one
    company. Any other sign-in ends the waivers, which are no longer needed.
    """
    request.session[SESSION_SIGNED_IN] = clock.now().isoformat()
    if user.is_operator:  # may have no membership, hence no audit log
        log.info("operator_signed_in", user_id=user.pk)
    limit: SessionLimit | None = getattr(request, "company_only", None)
    if limit is None:
        request.session.pop(SESSION_COMPANY_ONLY, None)
        remove_waivers(user)
    else:
        limit.store(request.session)
    memberships = list_session_memberships(user, request.session)
    if len(memberships) == 1:
        enter_company(request, memberships[0])


def end_other_sign_ins(*, request: HttpRequest, user: User, **kwargs: Any) -> None:
    """End all other sessions of the user, and their sockets, after a password change."""
    for sign_in in UserSession.objects.filter(user_id=user.pk):
        if sign_in.session_key != request.session.session_key:
            sign_in.end()


def prove_address_after_reset(*, request: HttpRequest, user: User, **kwargs: Any) -> None:
    """Mark the e-mail address as proven after a password reset link was used."""
    get_password_attempt(request, user.email).forget()
    if prove_by_reset(user.pk, keep_sign_in=request.session.session_key):
        messages.info(
            request,
            _(
                "Your email address is confirmed. Two-factor authentication, API keys and sessions "
                "that this account had before have been removed."
            ),
        )


def remember_device_after_sign_in(
    *, request: HttpRequest, response: HttpResponse, user: User, **kwargs: Any
) -> None:
    """Set the cookie of a known device after a complete sign-in."""
    remember_device(request, response, user)


def delete_outdated_factor(*, user: User, authenticator: Authenticator, **kwargs: Any) -> None:
    """Remove a second factor whose setup began before the account's credentials were reset."""
    with transaction.atomic():
        if lock_account(user.pk).password != user.password:
            authenticator.delete()


def connect_signals() -> None:
    """Connect the handlers of sign-ins, password changes and account events."""
    events.connect_signals()
    user_logged_in.connect(store_sign_in, dispatch_uid="tenants.remember_sign_in")
    sign_in_completed.connect(remember_device_after_sign_in, dispatch_uid="tenants.note_device")
    authenticator_added.connect(delete_outdated_factor, dispatch_uid="tenants.drop_late_factor")
    password_reset.connect(prove_address_after_reset, dispatch_uid="tenants.note_proof")
    for signal in (password_changed, password_set, password_reset):
        signal.connect(end_other_sign_ins, dispatch_uid="tenants.end_other_sign_ins")
