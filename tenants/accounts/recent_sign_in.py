"""Recent sign-in checks, so that an unattended browser cannot create lasting credentials."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.login import get_authentication_records
from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.utils.http import urlencode

from tenants.authentication import has_full_access
from tenants.error_pages import render_error
from tenants.errors import SecondFactorRequired

View = Callable[..., HttpResponseBase]


def has_recent_sign_in(request: HttpRequest) -> bool:
    """Return whether the user entered a password or code within RECENT_SIGN_IN_SECONDS."""
    records = get_authentication_records(request, request.user)
    newest = max((float(record["at"]) for record in records), default=0.0)
    return bool(time.time() - newest < settings.RECENT_SIGN_IN_SECONDS)


def redirect_to_reauthentication(request: HttpRequest) -> HttpResponseRedirect:
    """Redirect the user to enter a password or code again and to return to this page."""
    methods = get_adapter().get_reauthentication_methods(request.user)
    url = methods[0]["url"] if methods else "/accounts/login/"
    return HttpResponseRedirect(f"{url}?{urlencode({REDIRECT_FIELD_NAME: request.path})}")


def require_whole_account(view: View) -> View:
    """Reject sessions that are limited to one company; the view changes the account itself."""

    @wraps(view)
    def check_session(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not has_full_access(request.session):
            return render_error(request, SecondFactorRequired())
        return view(request, *args, **kwargs)

    return check_session
