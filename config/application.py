"""Django's ASGI application, with each request on one thread, and threads that are kept.

None of the middleware and views is asynchronous. Django would go back to the event loop between
them, five times in a request, and start a thread for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from config.body_limit import Scope, answer_outage
from tenants.outages import outage_of

KEPT = 16


class BodyNotKept(Exception):
    """The disk has no room for a request's body."""

    def __init__(self, cause: OSError) -> None:
        super().__init__()
        self.cause = cause


class Application(ASGIHandler):
    """Serves HTTP. A stream holds its thread until it ends; beyond those kept, more are made."""

    def __init__(self) -> None:
        super().__init__()
        self._idle: list[ThreadPoolExecutor] = []

    def load_middleware(self, is_async: bool = False) -> None:
        """Load it for a thread."""
        super().load_middleware(is_async=False)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Serve a request; 507 where its body finds no room on the disk."""
        with self._thread() as thread:
            async with ThreadSensitiveContext(executor=thread):
                try:
                    await self.handle(scope, receive, send)
                except BodyNotKept as error:
                    await answer_outage(scope, send, error.cause)

    async def read_body(self, receive: Any) -> Any:
        """Spool the body.

        Raises:
            BodyNotKept: when the disk is full.
        """
        try:
            return await super().read_body(receive)
        except OSError as error:
            if outage_of(error) is None:
                raise
            raise BodyNotKept(error) from error

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """Return what all of the middleware and the view make of a request."""
        return await sync_to_async(self.get_response)(request)

    @contextmanager
    def _thread(self) -> Iterator[ThreadPoolExecutor]:
        thread = self._idle.pop() if self._idle else ThreadPoolExecutor(1, "request")
        try:
            yield thread
        finally:
            if len(self._idle) < KEPT:
                self._idle.append(thread)
            else:
                thread.shutdown(wait=False)
