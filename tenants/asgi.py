"""Websocket adapter of the access decision."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import structlog
from django.conf import settings
from django.contrib.auth import get_user
from django.db import DatabaseError
from django.http import HttpRequest

from tenants import clock
from tenants.access import Principal, principal_for_session
from tenants.db import in_db
from tenants.middleware import log_ids
from tenants.outages import log_outage

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


TRY_AGAIN_LATER = 1013


class SameOrigin:
    """Refuse handshakes from pages of another origin, its port counting, as Django does forms.

    Cookies know no ports: the page of another program on this host would bring ours along.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on what comes from our own pages, close anything else."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        origin = headers.get(b"origin", "").lower()
        own = origin.partition("://")[2] == headers.get(b"host", "").lower() != ""
        if own or origin in settings.CSRF_TRUSTED_ORIGINS:
            await self.app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})


class PrincipalSocketMiddleware:
    """Put `principal`, `sign_in` (session key), `since`, `asserted_membership` into the scope."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Decide once, at the handshake; the watcher takes it from there."""
        session_key = _session_key(scope)
        # Before the decision: an end that falls between it and the watcher's first look counts.
        since = clock.now()
        structlog.contextvars.bind_contextvars(request_id=str(uuid4()))
        try:
            principal = await principal_of_cookie(scope)
        except DatabaseError as error:
            if not log_outage(error, work="handshake"):
                raise
            await _close_for_now(receive, send)
            return
        if principal is not None:
            structlog.contextvars.bind_contextvars(**log_ids(principal))
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        scope = {
            **scope,
            "principal": principal,
            "sign_in": session_key,
            "since": since,
            "asserted_membership": query.get("membership", [None])[0],
        }
        await self.app(scope, receive, send)


async def _close_for_now(receive: Receive, send: Send) -> None:
    """Accept a socket, since a browser sees no other reason, and have it come again later."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})


async def principal_of_cookie(scope: Scope) -> Principal | None:
    """Return who is signed in by the cookie of a request that Django has not seen yet."""
    session_key = _session_key(scope)
    return await in_db(_decide, session_key) if session_key else None


def _session_key(scope: Scope) -> str | None:
    cookies: SimpleCookie = SimpleCookie()
    for name, value in scope.get("headers", []):
        if name == b"cookie":
            try:
                cookies.load(value.decode("latin-1"))
            except CookieError:
                return None
    morsel = cookies.get(settings.SESSION_COOKIE_NAME)
    return morsel.value if morsel else None


def _decide(session_key: str) -> Principal | None:
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    return principal_for_session(get_user(request), request.session)
