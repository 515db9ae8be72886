"""Liveness and readiness checks: reported problems, and no other information."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from django.utils import timezone

from chat.conf import conf
from chat.models import Process
from tests.clock import wait_until
from tests.server import Server
from tests.test_logs import request
from tests.world import World


@pytest.fixture
def now(committed: None, monkeypatch: pytest.MonkeyPatch) -> datetime:
    """Current time, set to a day on which no other server of the suite sent a heartbeat."""
    moment = timezone.now() + timedelta(days=1)
    monkeypatch.setattr("config.health.clock.now", lambda: moment)
    return moment


@pytest.fixture
def beating(now: datetime) -> Iterator[Process]:
    """Worker that has just sent its heartbeat."""
    process: Process = Process.objects.create(beat_at=now)
    yield process
    Process.objects.filter(pk=process.pk).delete()


def ready() -> tuple[int, dict[str, Any]]:
    response = Client().get("/readyz")
    return response.status_code, response.json()


def expected(**checks: bool) -> dict[str, Any]:
    found = {"database": True, "migrations": True, "worker": True, **checks}
    return {"ready": all(found.values()), "checks": found}


def refuse(*_args: Any, **_kwargs: Any) -> Any:
    raise OperationalError("connection to db.internal:5432 as atrium_app failed: password s3cret")


def test_ready_when_everything_is_there(beating: Process) -> None:
    assert ready() == (200, expected())


def test_not_ready_without_a_worker(now: datetime) -> None:
    assert ready() == (503, expected(worker=False))


def test_not_ready_when_the_heartbeat_is_old(beating: Process, now: datetime) -> None:
    since = now - timedelta(seconds=conf.lapse_seconds + 1)
    Process.objects.filter(pk=beating.pk).update(beat_at=since)
    assert ready() == (503, expected(worker=False))


def test_not_ready_with_migrations_missing(
    beating: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MigrationExecutor, "migration_plan", lambda *_given: ["one"])
    assert ready() == (503, expected(migrations=False, worker=False))


@pytest.fixture
def without_database(beating: Process) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.db.backends.utils.CursorWrapper._execute", refuse)
        yield


def test_not_ready_without_a_database_and_no_reason_given(without_database: None) -> None:
    assert ready() == (503, expected(database=False, migrations=False, worker=False))


def test_alive_without_a_database(without_database: None) -> None:
    response = Client().get("/healthz")
    assert (response.status_code, response.content) == (200, b"ok\n")


def test_a_cookie_changes_no_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client = world.acme.client("alice")
    monkeypatch.setattr("django.db.backends.utils.CursorWrapper._execute", refuse)
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503


def test_asked_by_any_name_and_kept_by_nobody(beating: Process) -> None:
    for url in ("/healthz", "/readyz"):
        response = Client().get(url, headers={"Host": "10.0.0.7:8000"})
        assert response.status_code == 200
        assert "no-store" in response.headers["Cache-Control"]
        assert not response.cookies


def test_only_asked_never_told(beating: Process) -> None:
    for url in ("/healthz", "/readyz"):
        assert Client().post(url).status_code == 405


def test_a_server_process_is_ready(server: Server, world: World) -> None:
    # If it was frozen before, it may not have sent its heartbeat yet.
    wait_until(lambda: request(server, "GET", "/readyz") == 200)
    assert request(server, "GET", "/healthz") == 200
