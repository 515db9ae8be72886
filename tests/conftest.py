"""Fixtures shared by all tests: database, two-tenant world, coroutine tests, server process."""

from __future__ import annotations

import copy
import inspect
import math
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.cache import cache
from django.test import TransactionTestCase
from pytest_django import DjangoDbBlocker

from chat.runs.billing import tenant_policy_cache
from chat.upstream import freeze
from tenants.accounts import session_activity
from tenants.accounts.events import wait_for_records
from tests.cited import check_citations
from tests.database import HEARTBEATS, TestDatabase, test_database
from tests.log_scan import scanned_log
from tests.reaper import begin_watch, end_watch
from tests.server import RUNNING, Server, freeze_other_servers, serve
from tests.skip_summary import print_skip_summary
from tests.world import World, build_world

pytest_plugins = ["tests.upstream.fixtures", "tests.model_server"]

# No deadlines: a busy machine is slow, and examples test results, not durations.
hypothesis.settings.register_profile(
    "atrium",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    database=None,
)
hypothesis.settings.load_profile("atrium")


def pytest_configure(config: pytest.Config) -> None:
    """Adjust settings for tests: cheap password hashing, static files without a manifest."""
    begin_watch()
    settings.SECRET_KEY, settings.SALT_KEY = "x" * 50, ["y" * 50]
    settings.PASSWORD_HASHERS = ["tests.passwords.OneRound", *settings.PASSWORD_HASHERS]
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    settings.WHITENOISE_AUTOREFRESH = True
    Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End all remaining processes, and list skipped tests in the last line of the output."""
    end_watch()
    print_skip_summary(config)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run coroutine tests, which access the database through `in_db`."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    async_to_sync(pyfuncitem.obj)(**{name: pyfuncitem.funcargs[name] for name in names})
    return True


@pytest.fixture(scope="session")
def database(
    request: pytest.FixtureRequest, django_test_environment: None
) -> Iterator[TestDatabase]:
    """The test database of this process."""
    blocker: DjangoDbBlocker = request.getfixturevalue("django_db_blocker")
    with blocker.unblock():
        with test_database(os.environ.get("PYTEST_XDIST_WORKER", "main")) as made:
            yield made


@pytest.fixture(scope="session")
def django_db_setup(database: TestDatabase) -> Iterator[None]:
    """Clean up after transactional tests as the owner: the app role may not TRUNCATE."""
    patch = pytest.MonkeyPatch()

    def clean(_case: TransactionTestCase) -> None:
        wait_for_records()
        try:
            check_citations(database)
        finally:
            database.clean()

    patch.setattr(TransactionTestCase, "_fixture_teardown", clean)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def _no_memory_of_other_tests() -> None:
    """Clear per-process caches: rate limits, tenant limits and prices, session activity.

    The tenants have the same ids in every test.
    """
    cache.clear()
    tenant_policy_cache.clear()
    session_activity.clear_recorded()


@pytest.fixture(autouse=True)
def _ignore_freezes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable freeze detection, in which a busy machine's pauses would hide failures."""
    monkeypatch.setattr(freeze, "FREEZE_SECONDS", math.inf)


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    """Fail a test whose log contains a canary or a password."""
    with scanned_log():
        yield


@pytest.fixture
def committed(transactional_db: None) -> None:
    """Commit the writes of a test, so that other connections and both tenants see them.

    A test within one transaction is limited to one tenant, as in production.
    """


@pytest.fixture(scope="session")
def _world_as_built(
    database: TestDatabase, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> World:
    with django_db_blocker.unblock():
        database.clean()
        world = build_world()
        database.remember()
        database.clean()
    return world


@pytest.fixture
def world(_world_as_built: World, committed: None, database: TestDatabase) -> World:
    """Two tenants, acme and globex, each with the same roles and kinds of rows."""
    database.restore()
    return copy.deepcopy(_world_as_built)


@pytest.fixture
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Folder for stored files, separate for each test."""
    request.getfixturevalue("settings").MEDIA_ROOT = tmp_path
    return tmp_path


@pytest.fixture(autouse=True)
def only_its_servers(request: pytest.FixtureRequest) -> None:
    """Freeze all servers except those used by the test, so that they leave its database alone."""
    if RUNNING:
        freeze_other_servers(request.fixturenames)


@pytest.fixture(scope="session")
def _server(database: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    database.kept.update(HEARTBEATS)
    with serve(database, tmp_path_factory.mktemp("server"), fixture="_server") as server:
        yield server


@pytest.fixture
def server(world: World, _server: Server) -> Server:
    """Real server process on the test database, which contains the world."""
    return _server
