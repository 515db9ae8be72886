"""Size limits for request bodies, enforced before Django, which spools them before middleware."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from re import Pattern
from typing import Any
from uuid import UUID

from django.db import DatabaseError, transaction

from chat.errors import StorageFull
from chat.storage import check_quota
from tenants.asgi import get_cookie_principal
from tenants.authentication import Principal, authenticate_key
from tenants.db import in_db
from tenants.errors import RETRY_AFTER_SECONDS, InvalidApiKey, build_error_body
from tenants.outages import classify_outage, log_outage
from tenants.scope import tenant_scope

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[..., Awaitable[None]]
KEY, PERSON, ADMIN = "key", "person", "admin"
FORM_OVERHEAD_BYTES = 65_536  # maximum overhead of a form around its file


@dataclass(frozen=True, kw_only=True)
class SizeLimit:
    """Maximum number of bytes of a body if `method` and `path` match.

    `who` ("key", "person" or "admin") restricts the limit to such callers. For "key", a request
    without a valid API key is refused before its body is read; for the others, a different caller
    gets the next limit that matches. A body that would exceed the company's storage quota, together
    with other uploads in progress, is refused just as early.
    """

    path: Pattern[str]
    most: int
    method: str = ""
    who: str = ""

    def matches(self, scope: Scope) -> bool:
        """Return True if the limit applies to this request."""
        return self.method in ("", scope["method"]) and bool(self.path.match(scope["path"]))


class BodyLimitMiddleware:
    """ASGI middleware that answers 413 for a body over its limit, announced or not.

    The first match in `limits` applies.
    """

    def __init__(self, app: App, *, limits: Sequence[SizeLimit]) -> None:
        self.app = app
        self.limits = limits
        # Bytes of uploads in progress, by company: concurrent uploads share the remaining storage.
        self.under_way: Counter[UUID] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request unless its body is too large or its caller cannot be authenticated."""
        try:
            found, principal = await self._find_limit(scope)
        except DatabaseError as error:
            await send_outage(scope, send, error)
            return
        limit = found.most
        if found.who == KEY and principal is None:
            await send_error(send, 401, InvalidApiKey.code, InvalidApiKey().message)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > limit:
            await self._refuse(send, limit)
            return
        if principal is None:
            await self._serve(scope, receive, send, limit)
            return
        # A body of unknown size may be as large as the limit.
        size, others = int(announced) or limit, self.under_way[principal.tenant_id]
        self.under_way[principal.tenant_id] += size
        try:
            # Admin forms report this error themselves unless other uploads are in progress.
            if found.who != ADMIN or others:
                try:
                    full = await in_db(
                        get_storage_refusal, principal, others + size - FORM_OVERHEAD_BYTES
                    )
                except DatabaseError as error:
                    await send_outage(scope, send, error)
                    return
                if full is not None:
                    await send_error(send, full.http_status, full.code, full.message)
                    return
            await self._serve(scope, receive, send, limit)
        finally:
            self.under_way[principal.tenant_id] -= size
            self.under_way += Counter()  # drop companies without uploads

    async def _serve(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        seen = 0
        refused = False

        async def receive_bounded() -> Message:
            nonlocal seen, refused
            if refused:
                return {"type": "http.disconnect"}
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                refused = True
                await self._refuse(send, limit)
                return {"type": "http.disconnect"}
            return message

        async def unless_refused(message: Message) -> None:
            if not refused:
                await send(message)

        await self.app(scope, receive_bounded, unless_refused)

    async def _find_limit(self, scope: Scope) -> tuple[SizeLimit, Principal | None]:
        """Return the limit of a request, and its principal if the limit depends on it."""
        for limit in self.limits:
            if not limit.matches(scope):
                continue
            if limit.who == "":
                return limit, None
            if limit.who == KEY:
                return limit, await get_key_principal(scope)
            principal = await get_cookie_principal(scope)
            if principal is not None and (principal.is_admin or limit.who == PERSON):
                return limit, principal
        raise AssertionError("the last limit fits everything")

    async def _refuse(self, send: Send, limit: int) -> None:
        text = f"The request body is larger than {limit} bytes."
        await send_error(send, 413, "body_too_large", text)


async def get_key_principal(scope: Scope) -> Principal | None:
    """Return the principal of the request's API key, or None without a valid key."""
    header = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
    scheme, _, secret = header.partition(" ")
    if scheme.lower() != "bearer":
        return None
    try:
        return await in_db(authenticate_key, secret.strip())
    except InvalidApiKey:
        return None


def get_storage_refusal(principal: Principal, size: int) -> StorageFull | None:
    """Return the error if a file of this size exceeds the company's storage quota, or None."""
    with tenant_scope(principal.tenant_id), transaction.atomic():
        try:
            check_quota(size)
        except StorageFull as error:
            return error
    return None


async def send_outage(scope: Scope, send: Send, error: Exception) -> None:
    """Answer 503 or 507 if an outage was met before Django, else raise the error again."""
    outage = classify_outage(error)
    if outage is None:
        raise error
    log_outage(error, code=outage.http_status, request=f"{scope['method']} {scope['path']}")
    await send_error(send, outage.http_status, outage.code, outage.message)


async def send_error(send: Send, status: int, code: str, text: str) -> None:
    """Send an error response in place of the application."""
    body = json.dumps(build_error_body(code, text, status=status)).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    headers.append((b"content-length", str(len(body)).encode()))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 503:
        headers.append((b"retry-after", str(RETRY_AFTER_SECONDS).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
