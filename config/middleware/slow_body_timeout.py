"""Timeout for request bodies that arrive too slowly: each occupies a connection and disk space."""

from __future__ import annotations

import asyncio

from config.middleware.body_limit import App, Message, Receive, Scope, Send, send_error

MIN_RATE = 8_192  # bytes per second, once `patience` is used up


class SlowBodyTimeout:
    """ASGI middleware that answers 408 after `patience` seconds plus one per `MIN_RATE` bytes."""

    def __init__(self, app: App, *, patience: float) -> None:
        self.app = app
        self.patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request unless its body takes too long."""
        deadline = asyncio.get_running_loop().time() + self.patience
        whole = ended = False

        async def receive_in_time() -> Message:
            nonlocal deadline, whole, ended
            if whole:
                # After the body only a disconnect can arrive, for which there is no timeout.
                return await receive()
            if ended:
                return {"type": "http.disconnect"}
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                ended = True
                await send_error(send, 408, "body_too_slow", "The request body arrived too slowly.")
                return {"type": "http.disconnect"}
            whole = not message.get("more_body", False)
            deadline += len(message.get("body", b"")) / MIN_RATE
            return message

        async def unless_ended(message: Message) -> None:
            if not ended:
                await send(message)

        await self.app(scope, receive_in_time, unless_ended)
