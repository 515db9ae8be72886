"""Slow and concurrent request bodies, handled before they reach Django."""

from __future__ import annotations

import asyncio
from typing import Any

from config.middleware.slow_body_timeout import SlowBodyTimeout

SCOPE: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": []}


async def taken(*pieces: bytes, patience: float, more: bool) -> tuple[bytes, list[Any]]:
    """Return the part of the body that reaches the application, and the wrapper's own response."""
    coming = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    arrived, sent = bytearray(), list[Any]()

    async def receive() -> dict[str, Any]:
        if coming:
            return coming.pop(0)
        if not more:
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            arrived.extend(message["body"])
            if not message["more_body"]:
                return

    await SlowBodyTimeout(app, patience=patience)(SCOPE, receive, send)
    return bytes(arrived), sent


async def test_a_body_that_stops_coming_is_given_up() -> None:
    arrived, sent = await taken(b"half", patience=0.05, more=True)
    assert arrived == b"half"
    assert [item.get("status") for item in sent] == [408, None]


async def test_a_whole_body_is_passed_on_without_a_word() -> None:
    assert await taken(b"one ", b"two", patience=5, more=False) == (b"one two", [])


async def test_a_large_body_has_longer() -> None:
    piece = b"x" * 4096
    started = asyncio.get_running_loop().time()
    await taken(piece, patience=0.05, more=True)
    assert asyncio.get_running_loop().time() - started >= 0.5
