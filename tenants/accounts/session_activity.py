"""When and where a sign-in was last used, as the list of a person's sign-ins shows it."""

from __future__ import annotations

from time import monotonic

from allauth.account.adapter import get_adapter
from allauth.usersessions.middleware import UserSessionsMiddleware
from django.http import HttpRequest, HttpResponse

NOTED_SECONDS = 60.0
MAX_KNOWN = 10_000

# By the sign-in and where it was used from: when this process noted it, in seconds of
# time.monotonic.
_noted: dict[tuple[str, str, str], float] = {}


class SignInActivity(UserSessionsMiddleware):  # type: ignore[misc]
    """Notes each use, but one from the same place once a minute: a write for each page is many."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serve, noting the use first where it is due."""
        serve = super().__call__ if is_due(request) else self.get_response
        response: HttpResponse = serve(request)
        return response


def forget() -> None:
    """Note the next use of every sign-in."""
    _noted.clear()


def is_due(request: HttpRequest) -> bool:
    """Tell whether this use is to be noted, and count it as noted."""
    sign_in = request.session.session_key
    if not sign_in or not request.user.is_authenticated:
        return False
    address = str(get_adapter().get_client_ip(request))
    place = (sign_in, address, request.headers.get("User-Agent", ""))
    now, before = monotonic(), _noted.get(place)
    if before is not None and now - before < NOTED_SECONDS:
        return False
    if len(_noted) >= MAX_KNOWN:
        _noted.clear()
    _noted[place] = now
    return True
