"""Files that come with a message: chosen, dropped, pasted, refused, sent and seen again."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page, expect

from chat.conf import conf
from chat.models import File, Message, StorageUse
from tests.browser.attaching import PICTURE, a_file, choose, let_use
from tests.browser.conftest import Visit, Watch
from tests.browser.steps import ask, last_text
from tests.upstream.server import ScriptedServer
from tests.world import World

POLICY = "# Returns\n\nUnused goods go back within 30 days. Socks stay with you.\n"


def drop(page: Page, name: str) -> None:
    page.evaluate(
        """(name) => {
            const data = new DataTransfer();
            data.items.add(new File(["dropped text"], name));
            const chat = document.getElementById("transcript");
            for (const type of ["dragenter", "dragover", "drop"])
                chat.dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true }));
        }""",
        name,
    )


def test_files_are_sent_with_a_message_and_there_after_a_reload(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    let_use(world.acme, "file_search")
    model.expect(say=("Thank you.",))
    page = visit(world.acme, "alice")
    choose(page, a_file("policy.md", POLICY), a_file("lamp.png", PICTURE))
    ask(page, "Read this")
    expect(last_text(page)).to_have_text("Thank you.")
    expect(page.locator(".attached-file")).to_have_count(0)
    page.reload()
    expect(page.locator(".own .file-chip .file-name")).to_have_text("policy.md")
    expect(page.get_by_role("img", name="lamp.png", exact=True)).to_be_visible()
    with page.expect_download() as download:
        page.locator(".own .file-chip").click()
    assert download.value.path().read_text() == POLICY


def test_a_message_says_that_its_files_are_read_and_which_could_not_be(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    let_use(world.acme, "file_search")
    model.expect(say=("Thank you.",))
    page = visit(world.acme, "alice")
    choose(page, a_file("broken.pdf", b"%PDF-1.7 and nothing else"))
    ask(page, "Read this")
    expect(page.locator(".own-reading")).to_contain_text("“broken.pdf” could not be read.")
    expect(last_text(page)).to_have_text("Thank you.")


def test_an_assistant_that_cannot_read_a_file_says_so_before_sending(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    page = visit(world.acme, "alice")
    choose(page, a_file("policy.md", POLICY))
    page.locator("#message").fill("Read this")
    expect(page.locator("#attached-note")).to_contain_text("cannot read “policy.md”")
    expect(page.locator("#send")).to_be_disabled()
    with page.expect_response(lambda response: response.request.method == "DELETE"):
        page.get_by_label("Remove policy.md").click()
    expect(page.locator("#send")).to_be_enabled()
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    with world.acme.scope():
        assert not File.objects.alive().exists()


def test_what_is_dropped_and_pasted_is_attached(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    let_use(world.acme, "file_search")
    page = visit(world.acme, "alice")
    expect(page.locator("#welcome")).to_be_visible()
    drop(page, "dropped.txt")
    expect(page.locator(".attached-file .file-name")).to_have_text(["dropped.txt"])
    page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File(["pasted text"], "pasted.txt"));
            const event = new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
            document.getElementById("message").dispatchEvent(event);
        }"""
    )
    expect(page.locator('.attached-file[data-state="ready"]')).to_have_count(2)
    expect(page.locator("#drop")).to_be_hidden()


def test_files_that_were_not_sent_are_there_after_a_reload(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    let_use(world.acme, "file_search")
    page = visit(world.acme, "alice")
    choose(page, a_file("policy.md", POLICY))
    page.reload()
    expect(page.locator(".attached-file .file-name")).to_have_text(["policy.md"])
    page.locator("#threads a").first.click()
    expect(page.locator(".attached-file")).to_have_count(0)


def test_a_message_sent_during_an_upload_goes_out_after_it(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    let_use(world.acme, "file_search")
    page = visit(world.acme, "alice")
    held: list[Any] = []
    page.route("**/page/files", lambda route: held.append(route))
    with page.expect_request("**/page/files"):
        page.locator("#attach-files").set_input_files([a_file("policy.md", POLICY)])
    ask(page, "Read this")
    expect(page.locator("#attached-note")).to_contain_text("will be sent")
    expect(page.locator(".own-text")).to_have_count(0)
    model.expect(say=("Thank you.",))
    held[0].continue_()
    expect(last_text(page)).to_have_text("Thank you.")
    with world.acme.scope():
        message = Message.objects.filter(role="user").latest("created_at")
        assert [attachment["tools"] for attachment in message.attachments] == [
            [{"type": "file_search"}]
        ]


def test_a_message_that_waits_for_a_file_does_not_go_out_without_it(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    let_use(world.acme, "file_search")
    page = visit(world.acme, "alice")
    page.route("**/page/files", lambda route: None)
    page.locator("#attach-files").set_input_files([a_file("policy.md", POLICY)])
    ask(page, "Read this")
    expect(page.locator("#attached-note")).to_contain_text("will be sent")
    page.get_by_label("Remove policy.md").click()
    expect(page.locator("#attached-note")).to_be_hidden()
    expect(page.locator("#message")).to_have_value("Read this")
    expect(page.locator(".own-text")).to_have_count(0)


def test_a_failed_upload_says_why_and_holds_the_message_back(
    world: World, model: ScriptedServer, visit: Visit, watch: Watch
) -> None:
    watch.allowed = ["ERR_FAILED"]
    let_use(world.acme, "file_search")
    page = visit(world.acme, "alice")
    page.route("**/page/files", lambda route: route.abort())
    page.locator("#attach-files").set_input_files([a_file("policy.md", POLICY)])
    page.locator("#message").fill("Read this")
    expect(page.locator(".attached-file")).to_contain_text("Could not reach the server")
    expect(page.locator("#send")).to_be_disabled()


def test_a_failed_upload_is_tried_again(
    world: World, model: ScriptedServer, visit: Visit, watch: Watch
) -> None:
    watch.allowed = ["ERR_FAILED"]
    let_use(world.acme, "file_search")
    page = visit(world.acme, "alice")
    page.route("**/page/files", lambda route: route.abort(), times=1)
    page.locator("#attach-files").set_input_files([a_file("policy.md", POLICY)])
    page.locator("#message").fill("Read this")
    page.get_by_role("button", name="Upload policy.md again").click()
    expect(page.locator('.attached-file[data-state="ready"]')).to_be_visible()
    expect(page.locator("#send")).to_be_enabled()


def test_a_company_without_room_is_told_so_at_the_file(
    world: World, model: ScriptedServer, visit: Visit, watch: Watch
) -> None:
    watch.allowed = ["400"]
    let_use(world.acme, "file_search")
    with world.acme.scope():
        StorageUse.objects.create(bytes=conf.storage_bytes)
    page = visit(world.acme, "alice")
    page.locator("#attach-files").set_input_files([a_file("large.txt", "word " * 600_000)])
    expect(page.locator('.attached-file[data-state="bad"]')).to_contain_text("Ask an admin")


def test_another_window_shows_the_files_of_a_message_as_it_comes(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    let_use(world.acme, "file_search")
    path = f"/threads/{world.acme.threads['alice'].pk}"
    first, second = visit(world.acme, "alice", path), visit(world.acme, "alice", path)
    expect(second.locator(".own-text")).to_have_count(1)
    model.expect(say=("Thank you.",))
    choose(first, a_file("policy.md", POLICY), a_file("lamp.png", PICTURE))
    ask(first, "Read this")
    expect(second.locator(".own .file-chip .file-name")).to_have_text("policy.md")
    expect(second.get_by_role("img", name="lamp.png", exact=True)).to_be_visible()
    expect(last_text(second)).to_have_text("Thank you.")
