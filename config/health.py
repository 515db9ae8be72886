"""Liveness and readiness."""

from __future__ import annotations

from datetime import timedelta

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone

from chat.conf import conf
from chat.models import Process


def healthz(request: HttpRequest) -> HttpResponse:
    """Answer while the process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


def readyz(request: HttpRequest) -> JsonResponse:
    """Tell whether the database, its migrations and a worker are there; 503 when not."""
    checks = {"database": False, "migrations": False, "worker": False}
    try:
        executor = MigrationExecutor(connection)
        checks["database"] = True
        checks["migrations"] = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        if checks["migrations"]:
            since = timezone.now() - timedelta(seconds=conf.lapse_seconds)
            checks["worker"] = Process.objects.filter(beat_at__gt=since).exists()
    except DatabaseError:
        pass
    ready = all(checks.values())
    return JsonResponse({"ready": ready, "checks": checks}, status=200 if ready else 503)
