"""Requests are served on threads that are kept."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse

from config import application
from config.application import Application


class Noting(Application):
    """Notes the threads on which it serves; `at_once` requests wait for one another there."""

    def __init__(self, *, at_once: int = 1) -> None:
        super().__init__()
        self.threads: list[int] = []
        self.meeting = threading.Barrier(at_once)

    def get_response(self, request: HttpRequest) -> HttpResponse:
        self.threads.append(threading.get_ident())
        self.meeting.wait(60)
        return HttpResponse(b"ok")


async def asked(app: Application) -> bytes:
    """Return the body of an answer."""
    asked_for = [{"type": "http.request", "body": b""}]
    body = bytearray()

    async def receive() -> Any:
        return asked_for.pop() if asked_for else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        body.extend(message.get("body", b""))

    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "headers": []}
    await app({**scope, "query_string": b"", "root_path": ""}, receive, send)
    return bytes(body)


async def test_one_request_after_another_is_served_on_the_same_thread() -> None:
    app = Noting()
    assert [await asked(app) for _ in range(3)] == [b"ok"] * 3
    assert len(set(app.threads)) == 1


async def test_requests_at_once_have_threads_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(application, "KEPT", 2)
    app = Noting(at_once=4)
    assert await asyncio.gather(*(asked(app) for _ in range(4))) == [b"ok"] * 4
    assert len(set(app.threads)) == 4
    assert len(app._idle) == 2
