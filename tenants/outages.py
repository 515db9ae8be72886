"""Infrastructure failures that no request causes: unreachable database, full disk."""

from __future__ import annotations

import errno
import sys
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest
from django_structlog.middlewares import RequestMiddleware

from tenants.errors import AtriumError

DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
_DATABASE_DISK_FULL = "53100"

log = structlog.get_logger(__name__)


class DatabaseUnavailable(AtriumError):
    """The database is temporarily unavailable. Try again in a moment."""

    code = "unavailable"
    http_status = 503
    retryable = True


class DiskFull(AtriumError):
    """The server's disk is full. Nothing can be saved until the operator frees space."""

    code = "disk_full"
    http_status = 507


def classify_outage(error: BaseException | None) -> AtriumError | None:
    """Return the error to report for a database or disk failure; None for any other error.

    Lock timeouts and connection pool timeouts count as database failures: a retry may succeed.
    """
    if isinstance(error, OperationalError | InterfaceError):
        state = getattr(error.__cause__, "sqlstate", None)
        return DiskFull() if state == _DATABASE_DISK_FULL else DatabaseUnavailable()
    if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
        return DiskFull()
    return None


def log_outage(error: BaseException, **where: Any) -> bool:
    """Log an outage in one line, without a traceback; return whether the error is one."""
    outage = classify_outage(error)
    if outage is None:
        return False
    event = "disk_full" if isinstance(outage, DiskFull) else "database_away"
    state = getattr(error.__cause__, "sqlstate", None)
    log.error(event, error=type(error).__qualname__, state=state, **where)
    return True


class RequestLogMiddleware(RequestMiddleware):
    """Middleware that logs requests; an outage is logged without traceback or user query."""

    def _process_exception(self, request: HttpRequest, exception: Exception) -> None:
        outage = classify_outage(exception)
        if outage is None:
            super()._process_exception(request, exception)
            return
        request._raised_exception = exception  # type: ignore[attr-defined]
        # Several middlewares may report the same outage in one request.
        if not hasattr(request, "_outage_logged"):
            request._outage_logged = True  # type: ignore[attr-defined]
            log_outage(exception, code=outage.http_status, request=self.format_request(request))


def get_current_outage() -> AtriumError | None:
    """Return the error to report for the exception being handled, if it is an outage."""
    return classify_outage(sys.exc_info()[1])
