"""An answer whose server dies in the middle, on the page: its beginning stands there once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from chat.models import Message
from tests.browser.conftest import Visit, Watch
from tests.browser.steps import answers, ask, wait_until_idle
from tests.clock import WAIT_SECONDS
from tests.database import TestDatabase
from tests.model_server import QUICK
from tests.server import Server, serve
from tests.upstream.script import Answer
from tests.upstream.server import ScriptedServer
from tests.world import World

BEGINNING = "Once upon a time"
SAID = (BEGINNING, " there was an owl.")
TEXT = "".join(SAID)


@pytest.fixture
def environment(upstream_server: ScriptedServer) -> dict[str, str]:
    """Settings of a server that stores no text until it has to, and that is taken over soon."""
    return {
        **QUICK,
        "OPENAI_BASE_URL": upstream_server.base_url,
        "ATRIUM_PARTIAL_SECONDS": "60",
        "ATRIUM_LAPSE_SECONDS": "2",
        "ATRIUM_DRAIN_SECONDS": "0.2",
    }


@pytest.fixture
def site(
    world: World, database: TestDatabase, tmp_path: Path, environment: dict[str, str]
) -> Iterator[Server]:
    """A server of its own, for a test that kills it."""
    folder = tmp_path / "first"
    folder.mkdir()
    with serve(database, folder, environment=environment) as server:
        yield server


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_beginning_is_shown_once(
    world: World,
    database: TestDatabase,
    tmp_path: Path,
    model: ScriptedServer,
    site: Server,
    watch: Watch,
    visit: Visit,
    environment: dict[str, str],
    how: signal.Signals,
) -> None:
    watch.allowed += ["WebSocket", "ERR_", "error: Failed to fetch"]
    model.expect(Answer(say=SAID, held_after=1))
    model.expect(Answer(say=SAID))
    page = visit(world.acme, "alice")
    ask(page, "Tell me a story")
    expect(answers(page).last).to_contain_text(BEGINNING)
    site.process.send_signal(how)
    site.process.wait(WAIT_SECONDS)
    folder = tmp_path / "second"
    folder.mkdir()
    with serve(database, folder, environment=environment, successor_of=site, pages=False):
        expect(answers(page).last).to_contain_text(TEXT)
        wait_until_idle(page)
        shown = answers(page).last.inner_text()
        assert shown.count(BEGINNING) == 1
        page.reload()
        expect(answers(page).last).to_contain_text(TEXT)
        assert answers(page).last.inner_text().count(BEGINNING) == 1
    with world.acme.scope():
        told = Message.objects.filter(role="assistant", status="completed").order_by("created_at")
        assert told.last().text() == TEXT
