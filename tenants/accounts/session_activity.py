"""Last use of each session (time, IP address, browser), for the list of active sessions."""

from __future__ import annotations

from time import monotonic

from allauth.account.adapter import get_adapter
from allauth.usersessions.middleware import UserSessionsMiddleware
from django.http import HttpRequest, HttpResponse

RECORD_INTERVAL_SECONDS = 60.0
MAX_RECORDED = 10_000

# (session key, IP address, User-Agent): when this process last recorded it, in seconds of
# time.monotonic.
_recorded_at: dict[tuple[str, str, str], float] = {}


class SessionActivityMiddleware(UserSessionsMiddleware):  # type: ignore[misc]
    """Middleware that records the use of a session at most once a minute per client."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Handle the request, and record the use of the session first if it is due."""
        serve = super().__call__ if is_record_due(request) else self.get_response
        response: HttpResponse = serve(request)
        return response


def clear_recorded() -> None:
    """Clear the cache, so that the next use of every session is recorded."""
    _recorded_at.clear()


def is_record_due(request: HttpRequest) -> bool:
    """Return whether this use must be recorded, and remember it as recorded."""
    session_key = request.session.session_key
    if not session_key or not request.user.is_authenticated:
        return False
    address = str(get_adapter().get_client_ip(request))
    client = (session_key, address, request.headers.get("User-Agent", ""))
    now, last = monotonic(), _recorded_at.get(client)
    if last is not None and now - last < RECORD_INTERVAL_SECONDS:
        return False
    if len(_recorded_at) >= MAX_RECORDED:
        _recorded_at.clear()
    _recorded_at[client] = now
    return True
