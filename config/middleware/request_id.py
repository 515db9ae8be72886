"""One id for each request: in its log lines, and in the answer for whoever asks about it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from config.middleware.body_limit import App, Message, Receive, Scope, Send

HEADER = b"x-request-id"


class RequestId:
    """ASGI wrapper: names the request for everything inside, and in the answer's headers.

    An id that the asker sends is dropped: log lines of two requests never share one.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve with an id."""
        named = (HEADER, f"req_{uuid4().hex}".encode())
        others: list[Any] = [pair for pair in scope["headers"] if pair[0] != HEADER]

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], named]}
            await send(message)

        await self.app({**scope, "headers": [*others, named]}, receive, send_named)
