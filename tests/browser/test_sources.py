"""Citations on the page: numbered marks that open the document at the passage they quote."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect

from chat.models import File, Message
from tests.browser.attaching import a_file, choose, let_use
from tests.browser.conftest import Visit, Watch
from tests.browser.steps import answers, ask, copy_with, last_text
from tests.browser.test_layout import PHONE
from tests.upstream.script import Answer, Call
from tests.upstream.server import ScriptedServer
from tests.world import World

POLICY = (
    "# Returns\n\nThis page is about parcels that come back.\n\n"
    "You may return unused goods within 30 days of delivery. Socks stay with you.\n\n"
    "Refunds take five working days. They go to the card that was used to pay.\n"
)
RAW = re.compile("[【】†\ue000\ue001]")


@pytest.fixture
def searching(world: World, model: ScriptedServer) -> ScriptedServer:
    """A model that searches once, then quotes."""
    let_use(world.acme, "file_search")
    search = Call(name="file_search", arguments=json.dumps({"query": "returns"}))
    model.expect(Answer(calls=(search,)))
    return model


def ask_about_policy(page: Page) -> None:
    choose(page, a_file("policy.md", POLICY))
    ask(page, "When do I get my money?")
    expect(page.locator("ol.sources")).to_be_visible()


def test_a_mark_opens_the_document_at_the_quote(
    world: World, searching: ScriptedServer, visit: Visit
) -> None:
    searching.expect(say=("Return it within 30 days {mark 1}. ", "Wait five days {mark 1}."))
    page = visit(world.acme, "alice")
    ask_about_policy(page)
    expect(last_text(page)).to_have_text("Return it within 30 days[1]. Wait five days[1].")
    page.get_by_role("button", name="Source 1: policy.md").nth(1).press("Enter")
    panel = page.get_by_role("dialog", name="policy.md")
    expect(panel.locator("#source-text")).to_contain_text("Socks stay with you.")
    with world.acme.scope():
        content = Message.objects.filter(role="assistant").latest("created_at").content
    quote = content[0]["text"]["annotations"][1]["file_citation"]["quote"]
    expect(panel.locator("mark")).to_have_text(quote)
    assert quote == "Refunds take five working days."
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(page.get_by_role("button", name="Source 1: policy.md").nth(1)).to_be_focused()


def test_a_document_shows_its_headings_and_lists_and_keeps_every_sign(
    world: World, searching: ScriptedServer, visit: Visit
) -> None:
    searching.expect(say="Thirty days {mark 1}.")
    page = visit(world.acme, "alice")
    document = "# Returns\n\n- **Unused** goods within 30 days.\n\n```\n# paid = 1\n```\n"
    choose(page, a_file("policy.md", document))
    ask(page, "How many days?")
    page.locator(".prose .cite").click()
    shown = page.locator("#source-text")
    expect(shown.locator(".source-heading")).to_have_text(["Returns"])
    expect(shown.locator(".source-strong")).to_have_text("Unused")
    assert shown.inner_text().splitlines()[0] == "Returns" and "**" not in shown.inner_text()
    assert "# paid = 1" in shown.inner_text()
    assert (shown.text_content() or "").strip() == document.strip()


def test_marks_are_numbers_while_the_answer_grows(
    world: World, searching: ScriptedServer, visit: Visit
) -> None:
    words = tuple(f"word{number} " for number in range(30))
    searching.expect(say=("Thirty days {mark 1}. ", *words), held_after=3)
    page = visit(world.acme, "alice")
    choose(page, a_file("policy.md", POLICY))
    ask(page, "How long?")
    expect(last_text(page)).to_contain_text("Thirty days[1]. word0 word1")
    expect(page.locator("#stop")).to_be_visible()
    assert not RAW.search(page.locator("#messages").inner_text())
    page.locator(".prose .cite").click()
    expect(page.locator("#source mark")).to_contain_text("30 days")
    searching.go_on()
    expect(last_text(page)).to_contain_text("word29")


def test_a_copied_answer_has_numbers_and_a_list(
    world: World, searching: ScriptedServer, visit: Visit
) -> None:
    searching.expect(say=("Thirty days {mark 1}.",))
    page = visit(world.acme, "alice")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ask_about_policy(page)
    copied = copy_with(answers(page).last.get_by_role("button", name="Copy"))
    assert copied == "Thirty days [1].\n\n[1] policy.md"


def test_a_deleted_source_still_shows_what_it_said(
    world: World, searching: ScriptedServer, visit: Visit, watch: Watch
) -> None:
    watch.allowed = ["404"]
    searching.expect(say=("Thirty days {mark 1}.",))
    page = visit(world.acme, "alice")
    ask_about_policy(page)
    file_id = (page.locator(".own .file-chip").get_attribute("href") or "").split("/")[3]
    token = page.evaluate("document.cookie.match(/csrftoken=([^;]+)/)[1]")
    gone = page.request.delete(
        page.url.split("/threads")[0] + f"/page/files/{file_id}", headers={"X-CSRFToken": token}
    )
    assert gone.ok
    page.reload()
    expect(page.locator(".own .file-chip")).to_have_text("Deleted file")
    page.locator(".prose .cite").click()
    expect(page.locator("#source-note")).to_contain_text("was deleted")
    expect(page.locator("#source mark")).to_contain_text("within 30 days of delivery")
    expect(page.locator("#source-save")).to_be_hidden()
    with world.acme.scope():
        # A test may leave no citation without its source.
        Message.objects.filter(role="assistant").delete()


def test_on_a_phone_a_source_is_a_sheet(
    world: World, searching: ScriptedServer, visit: Visit
) -> None:
    searching.expect(say=("Thirty days {mark 1}.",))
    page = visit(world.acme, "alice", **PHONE)
    ask_about_policy(page)
    page.locator("ol.sources button").tap()
    box = page.get_by_role("dialog", name="policy.md").bounding_box()
    assert box is not None
    assert (box["x"], round(box["width"])) == (0, 390)
    assert round(box["y"] + box["height"]) == 844


def test_a_search_folds_out_to_what_it_found(
    world: World, searching: ScriptedServer, visit: Visit
) -> None:
    searching.expect(say=("Thirty days {mark 1}.",))
    page = visit(world.acme, "alice")
    ask_about_policy(page)
    page.locator(".step summary", has_text="Searched documents: returns").click()
    page.locator(".step-body").get_by_role("button", name="policy.md").click()
    expect(page.locator("#source mark")).to_contain_text("Refunds take five working days.")


def test_files_of_others_are_answered_like_missing_ones(world: World, visit: Visit) -> None:
    with world.globex.scope():
        theirs = File.objects.create(
            member=world.globex.gina, filename="theirs", purpose="assistants", storage_key="x"
        ).pk
    page = visit(world.acme, "alice")
    origin = page.url.rstrip("/")
    told = []
    for file_id in (theirs, "file-" + "a" * 24):
        for path in ("content", "passage?start=0&end=4"):
            answer = page.request.get(f"{origin}/page/files/{file_id}/{path}")
            told.append((answer.status, answer.text().replace(file_id, "")))
    assert told[:2] == told[2:]
    assert {status for status, _text in told} == {404}
