"""Requests are served on reused threads."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from config.middleware import single_thread_handler
from config.middleware.single_thread_handler import SingleThreadHandler


class Noting(SingleThreadHandler):
    """Application that records its threads and makes `at_once` requests wait for each other."""

    def __init__(self, *, at_once: int = 1) -> None:
        super().__init__()
        self.threads: list[int] = []
        self.meeting = threading.Barrier(at_once)

    def get_response(self, request: HttpRequest) -> HttpResponse:
        self.threads.append(threading.get_ident())
        self.meeting.wait(60)
        return HttpResponse(b"ok")


class Held(SingleThreadHandler):
    """Application that derives the company from the key, and blocks requests with `held` keys."""

    def __init__(self, *, held: frozenset[str]) -> None:
        super().__init__()
        self.held = held
        self.served: Counter[str] = Counter()
        self.began = threading.Semaphore(0)
        self.go_on = threading.Event()

    async def have_begun(self, count: int) -> None:
        """Wait until `count` more requests have started."""
        for _request in range(count):
            assert await asyncio.to_thread(self.began.acquire, timeout=60)

    def get_response(self, request: HttpRequest) -> HttpResponse:
        key = request.headers["Authorization"]
        request.principal = SimpleNamespace(tenant_id=key[0])  # type: ignore[attr-defined]
        self.served[key] += 1
        self.began.release()
        if key in self.held:
            assert self.go_on.wait(60)
        return HttpResponse(b"ok")


async def asked(app: SingleThreadHandler, key: str = "") -> bytes:
    """Send a request and return the body of the response."""
    asked_for = [{"type": "http.request", "body": b""}]
    body = bytearray()

    async def receive() -> Any:
        return asked_for.pop() if asked_for else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        body.extend(message.get("body", b""))

    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "headers": []}
    if key:
        scope["headers"] = [(b"authorization", key.encode())]
    await app({**scope, "query_string": b"", "root_path": ""}, receive, send)
    return bytes(body)


async def test_one_request_after_another_is_served_on_the_same_thread() -> None:
    app = Noting()
    assert [await asked(app) for _ in range(3)] == [b"ok"] * 3
    assert len(set(app.threads)) == 1


async def test_requests_at_once_have_threads_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(single_thread_handler, "MAX_IDLE_THREADS", 2)
    app = Noting(at_once=4)
    assert await asyncio.gather(*(asked(app) for _ in range(4))) == [b"ok"] * 4
    assert len(set(app.threads)) == 4
    assert len(app._idle) == 2


async def test_one_company_has_a_few_requests_at_a_time_with_all_its_keys_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settings, "DATABASE_REQUESTS", 3)
    monkeypatch.setattr(settings, "DATABASE_REQUESTS_PER_COMPANY", 2)
    app = Held(held=frozenset())
    for key in ("a1", "a2", "b1"):
        await asked(app, key)  # from now on the company of the key is known
    await app.have_begun(3)
    app.held, app.served = frozenset({"a1", "a2"}), Counter()
    flood = [asyncio.create_task(asked(app, key)) for key in ("a1", "a2") * 3]
    try:
        await app.have_begun(2)
        for _turn in range(5):
            assert await asked(app, "b1") == b"ok"
        assert app.served["a1"] + app.served["a2"] == 2
    finally:
        app.go_on.set()
    assert await asyncio.gather(*flood) == [b"ok"] * 6


async def test_keys_that_were_never_good_count_as_those_of_their_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settings, "DATABASE_REQUESTS", 3)
    monkeypatch.setattr(settings, "DATABASE_REQUESTS_PER_COMPANY", 2)
    keys = [f"a{number}" for number in range(6)]
    app = Held(held=frozenset(keys))
    flood = [asyncio.create_task(asked(app, key)) for key in keys]
    try:
        await app.have_begun(2)
        await asyncio.sleep(0.2)
        assert app.served.total() == 2
    finally:
        app.go_on.set()
    assert await asyncio.gather(*flood) == [b"ok"] * 6
