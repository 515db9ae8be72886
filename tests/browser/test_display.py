"""Small windows, large type, and the reader's own colours: everything is there to see."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.attaching import a_file, choose, let_use
from tests.browser.axe import findings
from tests.browser.conftest import Visit
from tests.browser.steps import ask, last_text, wait_until_idle
from tests.upstream.script import Answer, Call
from tests.upstream.server import ScriptedServer
from tests.world import World

# A phone of the smallest kind, and a laptop at 200 %.
SMALL: dict[str, dict[str, Any]] = {
    "320 px": {"viewport": {"width": 320, "height": 568}},
    "200 percent": {"viewport": {"width": 720, "height": 450}, "device_scale_factor": 2},
}
PROMPTS = [f"What is the state of order {number} and when will it come?" for number in range(5)]
# The words that do not show whole: wider than their box and cut there, or out of the window.
CUT = """() => [...document.querySelectorAll("#welcome *, .bar *, .foot *")].filter((node) => {
    if (!node.checkVisibility({ visibilityProperty: true })) return false;
    if (node.closest(".visually-hidden, svg")) return false;
    const { left, right } = node.getBoundingClientRect();
    const { overflowX, textOverflow } = getComputedStyle(node);
    const cut = overflowX === "hidden" && node.scrollWidth > node.clientWidth;
    return left < 0 || right > innerWidth || (cut && textOverflow !== "ellipsis");
}).map((node) => node.outerHTML.slice(0, 120))"""
# How an element is set apart where grounds are replaced: by an edge around it.
EDGE = """(node) => {
    const style = getComputedStyle(node);
    const seen = style.borderTopColor !== style.backgroundColor;
    return seen && style.borderTopStyle === "solid" ? parseFloat(style.borderTopWidth) : 0;
}"""
BAR = "(node) => parseFloat(getComputedStyle(node).borderInlineStartWidth)"


@pytest.mark.parametrize("options", SMALL.values(), ids=SMALL)
def test_an_empty_chat_opens_at_its_beginning(
    world: World, visit: Visit, options: dict[str, Any]
) -> None:
    with world.acme.scope():
        world.acme.assistant.description = "Knows orders, deliveries and returns. " * 4
        world.acme.assistant.suggested_prompts = PROMPTS
        world.acme.assistant.save()
    page = visit(world.acme, "alice", **options)
    expect(page.locator("#welcome-prompts button")).to_have_count(5)
    area = page.locator("#transcript")
    assert area.evaluate("area => area.scrollHeight > area.clientHeight")
    assert area.evaluate("area => area.scrollTop") == 0
    expect(page.locator("#welcome-name")).to_be_in_viewport(ratio=1)
    expect(page.locator("#composer")).to_be_in_viewport(ratio=1)
    expect(page.locator("#jump")).to_be_hidden()
    assert page.evaluate(CUT) == []
    page.set_viewport_size({"width": 360, "height": 400})
    expect(page.locator("#welcome-name")).to_be_in_viewport(ratio=1)


def test_a_chat_with_messages_opens_at_its_end(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    model.expect(say=tuple(f"Line {line}.\n\n" for line in range(40)))
    page = visit(world.acme, "alice", **SMALL["320 px"])
    ask(page, "Tell")
    wait_until_idle(page)
    page.reload()
    expect(last_text(page).locator("p").last).to_be_in_viewport(ratio=1)


def cited_answer(page: Page, model: ScriptedServer) -> None:
    """Let an answer cite a document and name a place of code."""
    search = Call(name="file_search", arguments='{"query": "days"}')
    model.expect(Answer(calls=(search,)))
    model.expect(say=("Thirty `days` {mark 1}.",))
    choose(page, a_file("policy.md", "Thirty days. " * 40))
    ask(page, "How long?")
    wait_until_idle(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_the_readers_own_colours_nothing_vanishes_into_text(
    world: World, model: ScriptedServer, visit: Visit, scheme: str
) -> None:
    let_use(world.acme, "file_search")
    page = visit(world.acme, "alice", forced_colors="active", color_scheme=scheme)
    cited_answer(page, model)
    shown = (".own-text", ".cite", ".source-number", ".company .mark", ".person", ".prose code")
    for selector in shown:
        assert page.locator(selector).first.evaluate(EDGE) >= 1, selector
    current = page.locator("#threads a[aria-current=page]")
    other = page.locator("#threads a:not([aria-current])").first
    assert current.evaluate(BAR) >= other.evaluate(BAR) + 3
    page.evaluate("document.querySelector('.answer .badge').hidden = false")
    assert page.locator(".answer .badge").first.evaluate(EDGE) >= 1
    page.locator(".cite").first.click()
    marked = page.locator("#source mark")
    expect(marked).to_be_visible()
    around = "node => getComputedStyle(node).backgroundColor"
    assert marked.evaluate(around) != page.locator("#source").evaluate(around)
    assert findings(page) == []
