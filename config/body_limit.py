"""Bounds request bodies before Django, which spools them whole ahead of any middleware."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from tenants.errors import error_body

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[..., Awaitable[None]]


class BodyLimit:
    """ASGI wrapper: answers 413 for a body over the limit of its address, announced or not.

    `limits` are bytes by the beginning of the path; the first that fits counts.
    """

    def __init__(self, app: App, *, limits: dict[str, int]) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request unless its body is too large."""
        limit = next(most for start, most in self.limits.items() if scope["path"].startswith(start))
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > limit:
            await self._refuse(send, limit)
            return
        seen = 0
        refused = False

        async def bounded() -> Message:
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

        await self.app(scope, bounded, unless_refused)

    async def _refuse(self, send: Send, limit: int) -> None:
        text = f"The request body is larger than {limit} bytes."
        body = json.dumps(error_body("body_too_large", text, status=413)).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})
