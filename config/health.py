"""Liveness and readiness endpoints for monitoring."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import structlog
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.utils.cache import add_never_cache_headers

from chat.conf import conf
from chat.models import Process
from tenants import clock
from tenants.outages import log_outage

log = structlog.get_logger(__name__)


class HealthMiddleware:
    """Middleware that answers /healthz and /readyz before the session and host checks.

    A load balancer connects by IP address, and a session cookie in the request must not affect the
    answer.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer a health check, or pass the request on."""
        answer = {"/healthz": check_liveness, "/readyz": check_readiness}.get(request.path_info)
        if answer is None:
            return self.get_response(request)
        is_safe = request.method in ("GET", "HEAD")
        response = answer() if is_safe else HttpResponseNotAllowed(["GET", "HEAD"])
        add_never_cache_headers(response)
        return response


def check_liveness() -> HttpResponse:
    """Return 200 as long as the process can answer."""
    return HttpResponse("ok\n", content_type="text/plain")


def check_readiness() -> HttpResponse:
    """Return 200 if the database, its migrations and a worker are ready, else 503."""
    checks = {"database": False, "migrations": False, "worker": False}
    try:
        executor = MigrationExecutor(connection)
        checks["database"] = True
        checks["migrations"] = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        if checks["migrations"]:
            since = clock.now() - timedelta(seconds=conf.lapse_seconds)
            checks["worker"] = Process.objects.filter(beat_at__gt=since).exists()
    except Error as error:
        # Details of a database error are only logged: this endpoint is public.
        if not log_outage(error, work="readyz"):
            log.exception("database_check_failed")
    ready = all(checks.values())
    return JsonResponse({"ready": ready, "checks": checks}, status=200 if ready else 503)
