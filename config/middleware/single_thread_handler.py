"""Django's ASGI application, with one reused thread per request.

None of the middleware and views is asynchronous. Django would return to the event loop between
them, five times per request, and start a thread for each.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from config.middleware.body_limit import Scope, send_outage
from tenants.outages import classify_outage
from tenants.turns import RequestTurns

MAX_IDLE_THREADS = 16
MAX_REMEMBERED = 10_000
# These answer even while all other requests are queued.
UNQUEUED_PATHS = frozenset({"/healthz", "/readyz"})


class BodySpoolError(Exception):
    """The disk is too full to spool a request's body."""

    def __init__(self, cause: OSError) -> None:
        super().__init__()
        self.cause = cause


class CompanyCache:
    """Cache of the company that each credential was last valid for."""

    def __init__(self) -> None:
        self._companies: OrderedDict[bytes, UUID] = OrderedDict()

    def get_key(self, request: HttpRequest) -> Hashable:
        """Return the key whose requests share a quota: the company's or the address's."""
        company = self._companies.get(_digest_credential(request))
        return company or str(request.META.get("REMOTE_ADDR", ""))

    def remember(self, request: HttpRequest) -> None:
        """Remember the company that a request was served for."""
        principal = getattr(request, "principal", None)
        if principal is not None:
            credential = _digest_credential(request)
            self._companies[credential] = principal.tenant_id
            self._companies.move_to_end(credential)
            if len(self._companies) > MAX_REMEMBERED:
                self._companies.popitem(last=False)


def _digest_credential(request: HttpRequest) -> bytes:
    """Return a digest of the request's API key or session id."""
    named = request.META.get("HTTP_AUTHORIZATION")
    if named is None:
        named = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
    return hashlib.blake2b(named.encode(), digest_size=16).digest()


class SingleThreadHandler(ASGIHandler):
    """ASGI handler. A stream holds its thread until it ends; threads are created as needed.

    The number of requests processed at a time is limited to the database connections available, and
    to a few per company: otherwise the threads of one busy company would take both the processor
    and the connections from all others.
    """

    def __init__(self) -> None:
        super().__init__()
        per_company = settings.DATABASE_REQUESTS_PER_COMPANY
        self._turns = RequestTurns(settings.DATABASE_REQUESTS, per_key=per_company)
        self._callers = CompanyCache()
        self._idle: list[ThreadPoolExecutor] = []

    def load_middleware(self, is_async: bool = False) -> None:
        """Load the middleware in its synchronous form."""
        super().load_middleware(is_async=False)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Serve a request; answer 507 if the disk is too full for its body."""
        with self._thread() as thread:
            async with ThreadSensitiveContext(executor=thread):
                try:
                    await self.handle(scope, receive, send)
                except BodySpoolError as error:
                    await send_outage(scope, send, error.cause)

    async def read_body(self, receive: Any) -> Any:
        """Spool the body.

        Raises:
            BodySpoolError: the disk is full.
        """
        try:
            return await super().read_body(receive)
        except OSError as error:
            if classify_outage(error) is None:
                raise
            raise BodySpoolError(error) from error

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """Run the middleware and the view in one thread and return the response."""
        if request.path_info in UNQUEUED_PATHS:
            return await sync_to_async(self.get_response)(request)
        async with self._turns.hold(self._callers.get_key(request)):
            response = await sync_to_async(self.get_response)(request)
        self._callers.remember(request)
        return response

    @contextmanager
    def _thread(self) -> Iterator[ThreadPoolExecutor]:
        thread = self._idle.pop() if self._idle else ThreadPoolExecutor(1, "request")
        try:
            yield thread
        finally:
            if len(self._idle) < MAX_IDLE_THREADS:
                self._idle.append(thread)
            else:
                thread.shutdown(wait=False)
