"""Request ids for log lines and response headers."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from config.middleware.body_limit import App, Message, Receive, Scope, Send

HEADER = b"x-request-id"


class RequestIdMiddleware:
    """ASGI middleware that assigns an id to each request and adds it to the response headers.

    An id sent by the client is dropped, so that two requests never share one in the logs.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request with an id."""
        named = (HEADER, f"req_{uuid4().hex}".encode())
        others: list[Any] = [pair for pair in scope["headers"] if pair[0] != HEADER]

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], named]}
            await send(message)

        await self.app({**scope, "headers": [*others, named]}, receive, send_named)
