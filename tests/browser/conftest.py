"""A real Chromium at a real server, which talks to the scripted test upstream."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from tests.browser.steps import TIMEOUT
from tests.database import HEARTBEATS, TestDatabase
from tests.server import Server, serve
from tests.upstream.fixtures import _upstream_process, upstream_server  # noqa: F401
from tests.upstream.server import ScriptedServer
from tests.world import Company, World

ARGUMENTS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that is marked `motion` with and without motion."""
    if metafunc.definition.get_closest_marker("motion") and "motion" in metafunc.fixturenames:
        metafunc.parametrize("motion", ["reduce", "no-preference"], ids=["still", "moving"])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder."""
    folder = Path(__file__).parent
    for item in items:
        if folder in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The browser; where it is missing its tests fail if they are required, else are skipped."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        if "browser" in os.environ.get("ATRIUM_REQUIRE", ""):
            pytest.fail("Chromium is required and missing.")
        pytest.skip("Chromium is missing.")
    patch = pytest.MonkeyPatch()
    # The driver keeps a loop in this thread, which Django takes for an async caller.
    patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()
    patch.undo()


@pytest.fixture(scope="package")
def _site(
    database: TestDatabase,
    _upstream_process: ScriptedServer,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    environment = {
        "OPENAI_BASE_URL": _upstream_process.base_url,
        "OPENAI_API_KEY": "test",
        "ATRIUM_MODEL": "test-model",
        "ATRIUM_DEMO_TOKENS_PER_SECOND": "200",
        "ATRIUM_UPSTREAM_TRIES": "1",
        "ATRIUM_CODE_SANDBOX": "monty",
    }
    database.kept.update(HEARTBEATS)
    with serve(
        database, tmp_path_factory.mktemp("site"), environment=environment, fixture="_site"
    ) as server:
        yield server


@pytest.fixture
def site(world: World, _site: Server) -> Server:
    """The server process, beside the two-tenant world."""
    return _site


@pytest.fixture
def model(world: World, upstream_server: ScriptedServer) -> ScriptedServer:  # noqa: F811
    """The scripted model server, which answers for both companies' assistants."""
    for company in (world.acme, world.globex):
        with company.scope():
            company.assistant.upstream = "default"
            company.assistant.model = "test-model"
            company.assistant.save()
    return upstream_server


@dataclass(kw_only=True)
class Watch:
    """What a page must not do: log errors, break its policy, or call anybody else."""

    origin: str
    problems: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def page(self, page: Page) -> None:
        """Watch a page from its start."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("request", self._request)

    def unexpected(self) -> list[str]:
        """Return what was seen and not allowed."""
        return [
            problem
            for problem in self.problems
            if not any(allowed in problem for allowed in self.allowed)
        ]

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if f"{parts.scheme}://{parts.netloc}" != self.origin and parts.scheme != "data":
            self.problems.append(f"external request: {request.url}")


Visit = Callable[..., Page]


@pytest.fixture
def watch(site: Server) -> Watch:
    """The watch over every page of the test; what it may have seen is asserted at the end."""
    return Watch(origin=site.url)


@pytest.fixture
def motion() -> str:
    """The user's preference: with motion; tests marked `motion` run without it as well."""
    return "no-preference"


@pytest.fixture
def visit(chromium: Browser, site: Server, watch: Watch, motion: str) -> Iterator[Visit]:
    """Open a page as a signed-in person: `visit(company, name, path, **context options)`."""
    contexts = []

    def open_page(company: Company, name: str, path: str = "/", **options: Any) -> Page:
        context = chromium.new_context(
            **{"viewport": {"width": 1280, "height": 800}, "reduced_motion": motion, **options}
        )
        context.set_default_timeout(TIMEOUT)
        contexts.append(context)
        session = company.session_key(name)
        context.add_cookies(
            [{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": site.url}]
        )
        page = context.new_page()
        watch.page(page)
        page.goto(site.url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert watch.unexpected() == []
