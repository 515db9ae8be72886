"""Websocket adapter of the access decision."""

from __future__ import annotations

import json
import re
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
from tenants.authentication import Principal, principal_for_session
from tenants.db import in_db, use_lanes_as
from tenants.errors import error_body
from tenants.middleware import log_ids
from tenants.outages import log_outage

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


TRY_AGAIN_LATER = 1013
DEFAULT_PORTS = {"http": 80, "https": 443}
_ORIGIN = re.compile(r"(https?)://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")

Origin = tuple[str, str, int]


class SocketPath:
    """Answer 404 to the handshake of a websocket at any other path."""

    def __init__(self, app: App, *, path: str) -> None:
        self.app = app
        self.path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the one path."""
        if scope["path"].removeprefix(scope.get("root_path", "")) == self.path:
            await self.app(scope, receive, send)
        elif "websocket.http.response" in scope.get("extensions", {}):
            body = json.dumps(error_body("not_found", "There is no websocket here.", status=404))
            headers = [(b"content-type", b"application/json")]
            start = {"type": "websocket.http.response.start", "status": 404, "headers": headers}
            await send(start)
            await send({"type": "websocket.http.response.body", "body": body.encode()})
        else:
            await send({"type": "websocket.close", "code": 1008})


class SameOrigin:
    """Refuse handshakes from pages of another origin: scheme, host and port must be ours.

    Ours is PUBLIC_URL, and for a request that names another host that host, with the scheme
    the request came by. The scheme is the one that a trusted proxy names, if any.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on what comes from our own pages, close anything else."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        origin = parse_origin(headers.get(b"origin", ""))
        own = own_origins(scope.get("scheme", "ws"), headers.get(b"host", ""))
        if origin is not None and origin in own:
            await self.app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})


def parse_origin(text: str) -> Origin | None:
    """Return scheme, host and port of an origin on the web, None for any other text."""
    found = _ORIGIN.fullmatch(text.lower())
    if found is None:
        return None
    scheme, host, port = found.groups()
    return scheme, host, int(port) if port else DEFAULT_PORTS[scheme]


def own_origins(scheme: str, host: str) -> set[Origin]:
    """Return the origins of our pages for a websocket that came by `scheme` to `host`."""
    public = [origin for url in settings.CSRF_TRUSTED_ORIGINS if (origin := parse_origin(url))]
    if any(parse_origin(f"{origin[0]}://{host}") == origin for origin in public):
        return set(public)
    asked = parse_origin(f"{'https' if scheme in ('wss', 'https') else 'http'}://{host}")
    return {*public, asked} if asked else set(public)


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
            use_lanes_as(principal.tenant_id)
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
