"""Liveness and readiness, for whoever watches this process."""

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
    """Answer /healthz and /readyz ahead of everything that needs a database or a known host.

    A balancer asks by address, and a cookie that happens to come along must
    not make an answer depend on its session.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer, or pass on."""
        answer = {"/healthz": healthz, "/readyz": readyz}.get(request.path_info)
        if answer is None:
            return self.get_response(request)
        safe = request.method in ("GET", "HEAD")
        response = answer() if safe else HttpResponseNotAllowed(["GET", "HEAD"])
        add_never_cache_headers(response)
        return response


def healthz() -> HttpResponse:
    """Answer while the process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


def readyz() -> HttpResponse:
    """Tell whether the database, its migrations and a worker are there; 503 when not."""
    checks = {"database": False, "migrations": False, "worker": False}
    try:
        executor = MigrationExecutor(connection)
        checks["database"] = True
        checks["migrations"] = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        if checks["migrations"]:
            since = clock.now() - timedelta(seconds=conf.lapse_seconds)
            checks["worker"] = Process.objects.filter(beat_at__gt=since).exists()
    except Error as error:
        # What is wrong with the database is the log's matter: anybody may ask this.
        if not log_outage(error, work="readyz"):
            log.exception("database_not_ready")
    ready = all(checks.values())
    return JsonResponse({"ready": ready, "checks": checks}, status=200 if ready else 503)
