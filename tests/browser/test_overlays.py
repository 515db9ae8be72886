"""What lies over the page: the focus goes into it and back, and Escape closes it."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from chat.models import Run, Thread
from tests.browser.attaching import a_file, choose, let_use
from tests.browser.axe import settle
from tests.browser.conftest import Visit
from tests.browser.steps import answers, ask, chat_action, last_text, wait_until_idle
from tests.upstream.script import Answer, Call
from tests.upstream.server import ScriptedServer
from tests.world import World

pytestmark = pytest.mark.motion

TABLET: dict[str, Any] = {"viewport": {"width": 700, "height": 800}}
WITHIN = "document.activeElement.closest('#side')?.id ?? document.activeElement.tagName"


def open_drawer(page: Page) -> None:
    """Open the drawer by the keyboard and see that the focus is in it, also once it stands."""
    page.locator("#open-side").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#close-side")).to_be_focused()
    settle(page)
    expect(page.locator("#close-side")).to_be_focused()
    expect(page.locator("#close-side")).to_be_in_viewport(ratio=1)


def expect_closed(page: Page) -> None:
    """See that the drawer is gone and that the focus is where it was."""
    expect(page.locator("#side")).to_be_hidden()
    expect(page.locator("#open-side")).to_be_focused()
    expect(page.locator("#open-side")).to_have_attribute("aria-expanded", "false")


def test_escape_closes_the_drawer_wherever_the_focus_is(world: World, visit: Visit) -> None:
    page = visit(world.acme, "alice", **TABLET)
    open_drawer(page)
    page.keyboard.press("Escape")
    expect_closed(page)
    open_drawer(page)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Escape")
    expect_closed(page)


def test_the_drawer_closes_by_its_button_and_by_a_click_beside_it(
    world: World, visit: Visit
) -> None:
    page = visit(world.acme, "alice", **TABLET)
    open_drawer(page)
    page.keyboard.press("Enter")
    expect_closed(page)
    open_drawer(page)
    page.mouse.click(690, 400)
    expect_closed(page)


def test_only_the_drawer_can_be_reached_while_it_is_open(world: World, visit: Visit) -> None:
    page = visit(world.acme, "alice", **TABLET)
    open_drawer(page)
    for _stop in range(30):
        page.keyboard.press("Tab")
        # Behind the last one the browser's own controls follow, and then the page begins anew.
        assert page.evaluate(WITHIN) in ("side", "BODY")


def test_escape_in_the_drawer_stops_no_answer(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    model.expect(say=("word ",) * 4, held_after=2)
    page = visit(world.acme, "alice", **TABLET)
    ask(page, "Count")
    expect(last_text(page)).to_contain_text("word")
    open_drawer(page)
    page.keyboard.press("Escape")
    expect_closed(page)
    model.go_on()
    wait_until_idle(page)
    with world.acme.scope():
        assert Run.objects.latest("created_at").status == "completed"


def test_escape_in_a_menu_of_the_drawer_closes_the_menu_alone(world: World, visit: Visit) -> None:
    page = visit(world.acme, "alice", **TABLET)
    open_drawer(page)
    page.locator("#account-button").click()
    expect(page.locator("#account-menu")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#account-menu")).to_be_hidden()
    expect(page.locator("#account-button")).to_be_focused()
    page.keyboard.press("Escape")
    expect_closed(page)


def test_a_chat_that_is_opened_from_the_drawer_leaves_the_focus_on_the_page(
    world: World, visit: Visit
) -> None:
    page = visit(world.acme, "alice", **TABLET)
    open_drawer(page)
    page.locator("#threads a").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".own-text")).to_contain_text("CANARY-ACME-ALICE-USER")
    expect_closed(page)


def test_a_narrower_window_takes_no_focus_away(world: World, visit: Visit) -> None:
    page = visit(world.acme, "alice")
    page.locator("#threads a").first.focus()
    page.set_viewport_size({"width": 700, "height": 800})
    expect(page.locator("#open-side")).to_be_focused()


def test_the_dialog_to_rename_gives_the_focus_back(world: World, visit: Visit) -> None:
    page = visit(world.acme, "alice", f"/threads/{world.acme.threads['alice'].pk}")
    chat_action(page, "Rename")
    expect(page.get_by_label("Title", exact=True)).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#rename")).to_be_hidden()
    expect(page.locator("#chat-menu-button")).to_be_focused()


def test_a_deleted_row_gives_the_focus_to_the_next_one(world: World, visit: Visit) -> None:
    with world.acme.scope():
        for title in ("One", "Two"):
            Thread.objects.create(member=world.acme.alice, title=title)
    page = visit(world.acme, "alice")
    expect(page.locator("#threads a")).to_have_count(3)
    row = page.locator("#threads li").first
    row.locator("a").focus()
    row.locator(".row-menu-button").focus()
    page.keyboard.press("Enter")
    row.get_by_role("menuitem", name="Delete").click()
    expect(page.locator("#threads a")).to_have_count(2)
    expect(page.locator("#threads a").first).to_be_focused()


def test_a_closed_toast_gives_the_focus_back(world: World, visit: Visit) -> None:
    page = visit(world.acme, "alice")
    page.get_by_label("Message", exact=True).fill("x" * 260_000)
    page.locator("#send").focus()
    page.keyboard.press("Enter")
    toast = page.locator(".toast")
    toast.get_by_role("button", name="Close").focus()
    page.keyboard.press("Enter")
    expect(toast).to_have_count(0)
    expect(page.locator("#send")).to_be_focused()


@pytest.mark.parametrize("options", [{}, TABLET], ids=["beside", "over"])
def test_the_source_takes_the_focus_and_gives_it_back(
    world: World, model: ScriptedServer, visit: Visit, options: dict[str, Any]
) -> None:
    let_use(world.acme, "file_search")
    search = Call(name="file_search", arguments='{"query": "days"}')
    model.expect(Answer(calls=(search,)))
    model.expect(say=("Thirty days {mark 1}.",))
    page = visit(world.acme, "alice", **options)
    choose(page, a_file("policy.md", "Thirty days. " * 40))
    ask(page, "How long?")
    wait_until_idle(page)
    mark = answers(page).last.locator(".cite")
    mark.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#source-title")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#source")).to_be_hidden()
    expect(mark).to_be_focused()
