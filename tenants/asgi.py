"""Websocket authentication and origin checks (ASGI middleware)."""

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
from tenants.authentication import Principal, get_session_principal
from tenants.db import in_db, set_pool_tenant
from tenants.errors import build_error_body
from tenants.middleware import get_log_ids
from tenants.outages import log_outage

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


TRY_AGAIN_LATER = 1013
DEFAULT_PORTS = {"http": 80, "https": 443}
_ORIGIN = re.compile(r"(https?)://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")

Origin = tuple[str, str, int]


class SocketPathMiddleware:
    """Middleware that rejects websocket handshakes at other paths with 404."""

    def __init__(self, app: App, *, path: str) -> None:
        self.app = app
        self.path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward handshakes at `path`; reject others."""
        if scope["path"].removeprefix(scope.get("root_path", "")) == self.path:
            await self.app(scope, receive, send)
        elif "websocket.http.response" in scope.get("extensions", {}):
            body = json.dumps(
                build_error_body("not_found", "No websocket endpoint at this path.", status=404)
            )
            headers = [(b"content-type", b"application/json")]
            start = {"type": "websocket.http.response.start", "status": 404, "headers": headers}
            await send(start)
            await send({"type": "websocket.http.response.body", "body": body.encode()})
        else:
            await send({"type": "websocket.close", "code": 1008})


class SameOriginMiddleware:
    """Middleware that rejects cross-origin handshakes; scheme, host and port must match.

    Allowed origins are PUBLIC_URL and, for a request to another host, that host with the
    request's scheme. A trusted proxy may set the scheme.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward same-origin handshakes; close others."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        origin = parse_origin(headers.get(b"origin", ""))
        own = get_allowed_origins(scope.get("scheme", "ws"), headers.get(b"host", ""))
        if origin is not None and origin in own:
            await self.app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})


def parse_origin(text: str) -> Origin | None:
    """Return scheme, host and port of an http or https origin, or None."""
    match = _ORIGIN.fullmatch(text.lower())
    if match is None:
        return None
    scheme, host, port = match.groups()
    return scheme, host, int(port) if port else DEFAULT_PORTS[scheme]


def get_allowed_origins(scheme: str, host: str) -> set[Origin]:
    """Return the allowed origins for a websocket request to `host` over `scheme`."""
    public = [origin for url in settings.CSRF_TRUSTED_ORIGINS if (origin := parse_origin(url))]
    if any(parse_origin(f"{origin[0]}://{host}") == origin for origin in public):
        return set(public)
    requested = parse_origin(f"{'https' if scheme in ('wss', 'https') else 'http'}://{host}")
    return {*public, requested} if requested else set(public)


class PrincipalSocketMiddleware:
    """Middleware that authenticates a websocket.

    It adds `principal`, `sign_in` (session key), `since` and `asserted_membership` to the scope.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Authenticate at the handshake; the access watcher detects later changes."""
        session_key = _get_session_key(scope)
        # Read before authenticating, so that the watcher also sees access that ends in between.
        since = clock.now()
        structlog.contextvars.bind_contextvars(request_id=str(uuid4()))
        try:
            principal = await get_cookie_principal(scope)
        except DatabaseError as error:
            if not log_outage(error, work="handshake"):
                raise
            await _close_for_retry(receive, send)
            return
        if principal is not None:
            set_pool_tenant(principal.tenant_id)
            structlog.contextvars.bind_contextvars(**get_log_ids(principal))
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        scope = {
            **scope,
            "principal": principal,
            "sign_in": session_key,
            "since": since,
            "asserted_membership": query.get("membership", [None])[0],
        }
        await self.app(scope, receive, send)


async def _close_for_retry(receive: Receive, send: Send) -> None:
    """Accept and close a socket, so that the browser sees the close code and retries later."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})


async def get_cookie_principal(scope: Scope) -> Principal | None:
    """Return the principal of a raw ASGI request's session cookie, or None."""
    session_key = _get_session_key(scope)
    return await in_db(_authenticate, session_key) if session_key else None


def _get_session_key(scope: Scope) -> str | None:
    cookies: SimpleCookie = SimpleCookie()
    for name, value in scope.get("headers", []):
        if name == b"cookie":
            try:
                cookies.load(value.decode("latin-1"))
            except CookieError:
                return None
    morsel = cookies.get(settings.SESSION_COOKIE_NAME)
    return morsel.value if morsel else None


def _authenticate(session_key: str) -> Principal | None:
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    return get_session_principal(get_user(request), request.session)
