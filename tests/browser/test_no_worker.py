"""A server without a worker, and none elsewhere: the page says why nothing comes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from chat.models import Process
from tests.browser.conftest import Visit, Watch
from tests.browser.steps import ask
from tests.database import TestDatabase
from tests.server import Server, serve
from tests.world import World


@pytest.fixture
def site(world: World, database: TestDatabase, tmp_path: Path) -> Iterator[Server]:
    """A server that accepts messages and executes nothing."""
    Process.objects.all().delete()
    with serve(database, tmp_path, worker=False) as server:
        yield server


def test_the_page_says_that_nothing_is_there_to_answer(
    world: World, watch: Watch, visit: Visit
) -> None:
    watch.allowed.append("503")
    page = visit(world.acme, "alice")
    ask(page, "Is anybody there?")
    expect(page.locator("#banner")).to_have_text(
        "No worker is available right now. Your message is saved and will be answered soon."
    )
