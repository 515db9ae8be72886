"""Every state of the page: accessible, usable by keys alone, no wider than its window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.attaching import PICTURE, a_file, choose, let_use
from tests.browser.axe import findings
from tests.browser.conftest import Visit
from tests.browser.steps import answers, ask, chat_action, last_text, wait_until_idle
from tests.upstream.script import Answer, Call
from tests.upstream.server import ScriptedServer
from tests.world import World

# A wheel's turn, without the time that its animation takes.
SCROLLED_UP = "area => new Promise(done => { area.onscroll = done; area.scrollBy(0, -400) })"
# Nothing is painted before there is a body.
NOTE_SCHEME = """new MutationObserver((_, seen) => {
    if (!document.body) return;
    window.schemeAtFirst = document.documentElement.dataset.scheme;
    seen.disconnect();
}).observe(document, { childList: true, subtree: true })"""
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
RICH = (
    "# Head\n\nText with `code` and a [link](https://example.com/).\n\n"
    "| a | b |\n|--|--:|\n| 1 | 2 |\n\n```sql\nSELECT 1 -- c\n```\n\n> quoted\n\n- one\n"
)


def empty(page: Page, model: ScriptedServer) -> None:
    expect(page.locator("#welcome-prompts button").first).to_be_visible()


def answered(page: Page, model: ScriptedServer) -> None:
    model.expect(say=(RICH,))
    ask(page, "Everything")
    wait_until_idle(page)
    expect(page.locator(".hljs-keyword").first).to_be_visible()


def failed(page: Page, model: ScriptedServer) -> None:
    model.expect(status=500, body="{}")
    ask(page, "Fail")
    expect(answers(page).last.get_by_role("button", name="Try again")).to_be_visible()


def step_open(page: Page, model: ScriptedServer) -> None:
    page.get_by_label("Show chats").click() if page.locator("#open-side").is_visible() else None
    page.locator("#threads a").first.click()
    page.locator(".step summary").click()
    expect(page.locator(".step-body")).to_be_visible()


def account_open(page: Page, model: ScriptedServer) -> None:
    page.get_by_label("Show chats").click() if page.locator("#open-side").is_visible() else None
    page.locator("#account-button").click()
    expect(page.locator("#account-menu")).to_be_visible()


def assistants_open(page: Page, model: ScriptedServer) -> None:
    page.locator("#assistant-button").click()
    expect(page.locator("#assistant-menu")).to_be_visible()


def renaming(page: Page, model: ScriptedServer) -> None:
    step_open(page, model)
    chat_action(page, "Rename")
    expect(page.get_by_label("Title", exact=True)).to_be_focused()


def too_wide(page: Page) -> list[str]:
    """Return which scrolling areas are wider than their window."""
    areas = {"page": "document.documentElement", "chat": "document.getElementById('transcript')"}
    return [
        name
        for name, area in areas.items()
        if page.evaluate(f"{area}.scrollWidth > {area}.clientWidth")
    ]


def deleted(page: Page, model: ScriptedServer) -> None:
    step_open(page, model)
    chat_action(page, "Delete")
    expect(page.get_by_role("button", name="Undo")).to_be_visible()


def signed_out(page: Page, model: ScriptedServer) -> None:
    page.evaluate("document.dispatchEvent(new CustomEvent('atrium:signed-out'))")
    expect(page.get_by_role("dialog")).to_contain_text("You are signed out")


def attached(page: Page, model: ScriptedServer) -> None:
    files = [a_file("A rather long name of a policy.md", "Thirty days."), a_file("empty.txt", "")]
    page.locator("#attach-files").set_input_files(files)
    expect(page.locator('.attached-file[data-state="ready"]')).to_be_visible()
    expect(page.locator("#attached-note")).to_be_visible()


def source_open(page: Page, model: ScriptedServer) -> None:
    search = Call(name="file_search", arguments='{"query": "days"}')
    model.expect(Answer(calls=(search,)))
    model.expect(say=("Thirty days {mark 1}.",))
    choose(page, a_file("A rather long name of a policy.md", "Thirty days. " * 40))
    ask(page, "How long?")
    page.locator("ol.sources button").click()
    expect(page.locator("#source mark")).to_be_visible()


def code_open(page: Page, model: ScriptedServer) -> None:
    code = 'print("x" * 200)\\nchart("bar", [{"a": 1}])\\nopen("b.txt", "w").write("b")\\n1 / 0'
    arguments = '{"code": "' + code.replace('"', '\\"') + '"}'
    model.expect(Answer(calls=(Call(name="code_interpreter", arguments=arguments),)))
    model.expect(say=("There.",))
    choose(page, a_file("picture.png", PICTURE))
    ask(page, "Draw")
    expect(last_text(page)).to_have_text("There.")
    page.locator(".step summary").click()
    expect(page.locator(".step-body .result[data-kind=code_error]")).to_be_visible()
    expect(page.locator(".own .picture img")).to_be_visible()


def picture_open(page: Page, model: ScriptedServer) -> None:
    model.expect(say=("A dot.",))
    choose(page, a_file("picture.png", PICTURE))
    ask(page, "What is it?")
    page.locator(".own .picture-open").click()
    expect(page.locator("#picture-large")).to_be_visible()


STATES: list[Callable[[Page, ScriptedServer], None]] = [
    empty,
    answered,
    failed,
    step_open,
    account_open,
    assistants_open,
    renaming,
    deleted,
    signed_out,
    attached,
    source_open,
    code_open,
    picture_open,
]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("device", [{}, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_and_nothing_scrolls_sideways(
    world: World,
    model: ScriptedServer,
    visit: Visit,
    state: Callable[[Page, ScriptedServer], None],
    device: dict[str, Any],
) -> None:
    let_use(world.acme, "file_search", "code_interpreter")
    page = visit(world.acme, "alice", **device)
    state(page, model)
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        assert findings(page) == [], scheme
    for width in (320, 390, 768, 1280, 2560):
        page.set_viewport_size({"width": width, "height": 800})
        assert too_wide(page) == [], width


@pytest.mark.motion
def test_on_a_phone_the_chats_are_a_drawer(world: World, visit: Visit) -> None:
    page = visit(world.acme, "alice", **PHONE)
    expect(page.locator("#threads a").first).to_be_hidden()
    page.get_by_label("Show chats").tap()
    page.locator("#threads a").first.tap()
    expect(page.locator("#threads a").first).to_be_hidden()
    expect(page.locator(".own-text")).to_contain_text("CANARY-ACME-ALICE-USER")


@pytest.mark.motion
def test_keys_alone_do_everything(world: World, model: ScriptedServer, visit: Visit) -> None:
    model.expect(say=("Answer.",))
    page = visit(world.acme, "alice")
    expect(page.locator("#welcome")).to_be_visible()
    page.keyboard.type("By keys")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("only")
    page.keyboard.press("Enter")
    expect(last_text(page)).to_have_text("Answer.")
    expect(page.locator(".own-text")).to_have_text("By keys\nonly")
    page.keyboard.press("Control+Shift+O")
    expect(page.locator("#welcome")).to_be_visible()
    page.locator("#threads a").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()


@pytest.mark.motion
def test_the_menus_follow_the_keyboard_pattern(world: World, visit: Visit) -> None:
    page = visit(world.acme, "alice")
    page.locator("#account-button").focus()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("menuitem", name="Sign out")).to_be_focused()
    page.keyboard.press("Home")
    expect(page.get_by_role("menuitem", name="Profile")).to_be_focused()
    page.keyboard.press("s")
    page.keyboard.press("Escape")
    expect(page.locator("#account-menu")).to_be_hidden()
    expect(page.locator("#account-button")).to_be_focused()


def test_the_chosen_scheme_holds_from_the_first_paint(world: World, visit: Visit) -> None:
    page = visit(world.acme, "alice", color_scheme="light")
    page.locator("#account-button").click()
    page.get_by_role("menuitemradio", name="Dark").click()
    page.add_init_script(NOTE_SCHEME)
    page.reload()
    assert page.evaluate("window.schemeAtFirst") == "dark"
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(27, 28, 31)"


@pytest.mark.motion
def test_the_reader_keeps_their_place_while_text_grows(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    lines = tuple(f"Line {number}.\n\n" for number in range(120))
    model.expect(say=lines, held_after=60)
    page = visit(world.acme, "alice")
    ask(page, "A long one")
    expect(last_text(page)).to_contain_text("Line 58.")
    page.locator("#transcript").evaluate(SCROLLED_UP)
    expect(page.locator("#jump")).to_be_visible()
    place = page.evaluate("document.getElementById('transcript').scrollTop")
    model.go_on()
    expect(last_text(page)).to_contain_text("Line 80.")
    assert page.evaluate("document.getElementById('transcript').scrollTop") == place
    page.get_by_role("button", name="Latest").click()
    expect(last_text(page)).to_contain_text("Line 119.")
    wait_until_idle(page)
    expect(page.locator("#jump")).to_be_hidden()
    expect(answers(page).last.locator(".actions")).to_be_in_viewport(ratio=1)


@pytest.mark.motion
def test_the_page_follows_after_a_message_of_many_lines(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    page = visit(world.acme, "alice")
    for number in range(2):
        model.expect(say=tuple(f"Line {line}.\n\n" for line in range(40)))
        ask(page, "One\nmessage\nof\nmany\nlines")
        expect(answers(page)).to_have_count(number + 1)
        wait_until_idle(page)
    expect(answers(page).last.locator(".actions")).to_be_in_viewport(ratio=1)
    expect(page.locator("#jump")).to_be_hidden()


def test_the_first_load_is_small(world: World, visit: Visit) -> None:
    page = visit(world.acme, "alice")
    page.wait_for_load_state("networkidle")
    transferred = page.evaluate(
        "performance.getEntries().reduce((sum, each) => sum + (each.encodedBodySize || 0), 0)"
    )
    assert 20_000 < transferred < 150_000
