"""Signing in: closed to strangers, by e-mail, and where a person lands."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.signals import password_changed, password_reset, password_set
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext_lazy as _

from tenants import clock
from tenants.access import choose_membership, memberships_of, principal_for_session
from tenants.models import Membership, User

SESSION_SIGNED_IN = "signed_in_at"


class ClosedAccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Nobody signs up but through an invitation."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "account_inactive": _("This account is closed."),
        "email_password_mismatch": _("The e-mail address or the password is not right."),
        "incorrect_password": _("This is not your password."),
        "too_many_login_attempts": _("Too many failed tries: wait a few minutes."),
        "rate_limited": _("That was too often: wait a few minutes."),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Refuse: allauth's own page would be open."""
        return False

    def is_safe_url(self, url: str) -> bool:
        """Refuse what is no address at all, besides what leads away."""
        try:
            return bool(super().is_safe_url(url))
        except ValueError:
            return False

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        """Return where somebody lands who asked for no page in particular."""
        return landing_page(request)

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        """Return to the profile, where the change began."""
        return "/profile/"

    def get_reset_password_from_key_url(self, key: str) -> str:
        """Return the link in the mail, on our public address."""
        path = f"/accounts/password/reset/key/{key}/"
        return base_url(self.request) + path


def display_name(user: User) -> str:
    """Return how allauth's pages and mails address a person: their own address."""
    return user.email


def base_url(request: HttpRequest | None) -> str:
    """Return this installation's address without a slash at the end."""
    if settings.PUBLIC_URL:
        return str(settings.PUBLIC_URL)
    if request is None:
        return "http://127.0.0.1:8000"
    return request.build_absolute_uri("/").rstrip("/")


def landing_page(request: HttpRequest) -> str:
    """Return the page for a signed-in person by what they may enter."""
    if principal_for_session(request.user, request.session) is not None:
        return "/"
    user = request.user
    assert isinstance(user, User)  # nosec B101 - landing is for the signed-in
    if user.is_superuser:
        return "/admin/"
    return "/companies/" if memberships_of(user) else "/no-company/"


def must_sign_in_again(session: SessionBase, membership: Membership) -> bool:
    """Tell whether the company has ended this sign-in: choosing it anew must not undo that."""
    if membership.signed_out_at is None:
        return False
    signed_in: datetime | None = parse_datetime(session.get(SESSION_SIGNED_IN, ""))
    return signed_in is None or signed_in <= membership.signed_out_at


def remember_sign_in(*, request: HttpRequest, user: User, **kwargs: Any) -> None:
    """At sign-in note the moment, and choose the membership where there is only one."""
    request.session[SESSION_SIGNED_IN] = clock.now().isoformat()
    memberships = memberships_of(user)
    if len(memberships) == 1:
        choose_membership(request.session, memberships[0])


def end_other_sign_ins(*, request: HttpRequest, user: User, **kwargs: Any) -> None:
    """After a new password, end every other sign-in and with it its sockets."""
    for sign_in in UserSession.objects.filter(user_id=user.pk):
        if sign_in.session_key != request.session.session_key:
            sign_in.end()


def connect_signals() -> None:
    """Listen to sign-ins and new passwords."""
    user_logged_in.connect(remember_sign_in, dispatch_uid="tenants.remember_sign_in")
    for signal in (password_changed, password_set, password_reset):
        signal.connect(end_other_sign_ins, dispatch_uid="tenants.end_other_sign_ins")
