"""A chat from the first question to the last: streaming, stopping, waiting, trying again."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from chat.models import Assistant, Message, Thread
from chat.wire import text_part
from tests.browser.conftest import Visit
from tests.browser.steps import answers, ask, chat_action, last_text, wait_until_idle
from tests.upstream.script import Answer
from tests.upstream.server import ScriptedServer
from tests.world import World

WORDS = tuple(f"word{number} " for number in range(60))


def test_an_answer_streams_into_a_new_chat(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    model.expect(say=("Hello ", "**there**", "."))
    page = visit(world.acme, "alice")
    ask(page, "Good morning")
    expect(last_text(page)).to_have_text("Hello there.")
    expect(page.locator("#title")).to_have_text("Good morning")
    assert "/threads/thread_" in page.url
    expect(page.locator("#threads [aria-current=page]")).to_have_text("Good morning")


def test_the_own_message_is_on_screen_in_the_same_frame(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    model.expect(say=("Yes.",), delay=0.3)
    page = visit(world.acme, "alice")
    expect(page.locator("#welcome")).to_be_visible()
    shown = page.evaluate(
        """async () => {
            const box = document.getElementById("message");
            box.value = "At once?";
            box.dispatchEvent(new Event("input"));
            document.getElementById("composer").requestSubmit();
            await new Promise((done) => requestAnimationFrame(done));
            return document.querySelector("article.own .own-text")?.textContent;
        }"""
    )
    assert shown == "At once?"
    expect(last_text(page)).to_have_text("Yes.")


def test_a_reload_in_mid_answer_shows_the_text_once(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    model.expect(say=WORDS, held_after=30)
    page = visit(world.acme, "alice")
    ask(page, "Count")
    expect(last_text(page)).to_contain_text("word5 ")
    page.reload()
    expect(last_text(page)).to_contain_text("word29 ")
    model.go_on()
    expect(last_text(page)).to_contain_text("word59")
    wait_until_idle(page)
    assert last_text(page).inner_text().split() == [word.strip() for word in WORDS]
    assert answers(page).count() == 1


def test_a_lost_line_is_resumed_with_nothing_lost_or_doubled(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    model.expect(say=(*WORDS[:30], "smile😀 ", *WORDS[30:]), held_after=31)
    page = visit(world.acme, "alice")
    ask(page, "Count")
    expect(last_text(page)).to_contain_text("😀")
    page.evaluate("window.dispatchEvent(new Event('offline'))")
    model.go_on()
    wait_until_idle(page)
    wanted = [*WORDS[:30], "smile😀", *WORDS[30:]]
    assert last_text(page).inner_text().split() == [word.strip() for word in wanted]


def test_a_stopped_answer_keeps_its_text_and_says_so(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    model.expect(say=WORDS, stall_after=4)
    page = visit(world.acme, "alice")
    ask(page, "Count")
    expect(last_text(page)).to_contain_text("word3 ")
    page.keyboard.press("Escape")
    expect(answers(page).last.locator(".ending")).to_contain_text("You stopped this answer.")
    expect(last_text(page)).to_contain_text("word3 ")
    page.reload()
    expect(answers(page).last.locator(".ending")).to_contain_text("You stopped this answer.")


def test_a_message_waits_until_the_answer_is_finished(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    model.expect(say=WORDS, held_after=2)
    model.expect(say=("Second answer.",))
    page = visit(world.acme, "alice")
    ask(page, "First")
    expect(last_text(page)).to_contain_text("word1 ")
    ask(page, "Second")
    expect(page.locator("#queue")).to_contain_text("Second")
    page.reload()
    expect(page.locator("#queue")).to_contain_text("Second")
    model.go_on()
    expect(last_text(page)).to_have_text("Second answer.")
    expect(page.locator("#queue")).to_be_hidden()
    expect(page.locator(".own-text")).to_have_text(["First", "Second"])


def test_a_waiting_message_can_be_taken_back(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    model.expect(say=WORDS, held_after=2, stall_after=30)
    page = visit(world.acme, "alice")
    ask(page, "First")
    expect(last_text(page)).to_contain_text("word1 ")
    ask(page, "Second thoughts")
    page.locator("#queue").get_by_role("button", name="Remove").focus()
    model.go_on()
    expect(last_text(page)).to_contain_text("word29 ")
    page.keyboard.press("Enter")
    expect(page.locator("#queue")).to_be_hidden()
    expect(page.get_by_label("Message", exact=True)).to_have_value("Second thoughts")
    page.locator("#stop").click()
    wait_until_idle(page)
    assert page.locator(".own-text").all_inner_texts() == ["First"]


def test_a_failed_answer_says_why_and_can_be_tried_again(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    model.expect(status=500, body='{"error": {"message": "secret trouble"}}')
    model.expect(say=("Now it works.",))
    page = visit(world.acme, "alice")
    ask(page, "Hello")
    ending = answers(page).last.locator(".ending")
    expect(ending).to_be_visible()
    assert "secret trouble" not in page.content()
    ending.get_by_role("button", name="Try again").click()
    expect(last_text(page)).to_have_text("Now it works.")
    assert page.locator(".own-text").count() == 1


def test_an_answer_that_waits_for_its_model_server_says_when_it_tries_again(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    model.when("down", Answer(status=503), repeat=True)
    page = visit(world.acme, "alice")
    for number in range(3):
        page.locator("#new-chat").click()
        ask(page, f"down {number}")
        expect(answers(page)).to_have_count(1)
        if number < 2:
            wait_until_idle(page)
    waits = answers(page).last.locator(".busy")
    expect(waits).to_contain_text(re.compile(r"Retrying in \d+ s"))
    # Of the stored run, as well as of the event that told of it.
    page.reload()
    expect(waits).to_contain_text(re.compile(r"Retrying in \d+ s"))
    model.when("down", Answer(say=("It is back.",)))
    expect(last_text(page)).to_have_text("It is back.")


def test_a_finished_answer_is_announced_once(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    model.expect(say=WORDS[:10], pace=0.02)
    page = visit(world.acme, "alice")
    page.evaluate(
        """() => {
            window.heard = [];
            const region = document.getElementById("announcer");
            new MutationObserver(() => region.textContent && window.heard.push(region.textContent))
                .observe(region, { childList: true, characterData: true, subtree: true });
        }"""
    )
    ask(page, "Count")
    expect(page.locator("#announcer")).to_have_text("".join(WORDS[:10]).strip())
    wait_until_idle(page)
    assert len(page.evaluate("window.heard")) == 1


def test_a_failure_is_announced(world: World, model: ScriptedServer, visit: Visit) -> None:
    model.expect(status=500, body="{}")
    page = visit(world.acme, "alice")
    ask(page, "Hello")
    expect(page.locator("#announcer")).to_contain_text("model server")


def test_a_draft_survives_a_reload_and_belongs_to_its_chat(world: World, visit: Visit) -> None:
    page = visit(world.acme, "alice")
    page.get_by_label("Message", exact=True).fill("Half a thou")
    page.reload()
    expect(page.get_by_label("Message", exact=True)).to_have_value("Half a thou")
    page.locator("#threads a").first.click()
    expect(page.get_by_label("Message", exact=True)).to_have_value("")
    page.go_back()
    expect(page.get_by_label("Message", exact=True)).to_have_value("Half a thou")


def test_a_message_sent_without_a_line_goes_out_later(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    model.expect(say=("Here I am.",))
    page = visit(world.acme, "alice")
    expect(page.locator("#welcome")).to_be_visible()
    page.evaluate("window.dispatchEvent(new Event('offline'))")
    ask(page, "Are you there?")
    expect(page.locator(".own-text")).to_have_text("Are you there?")
    expect(last_text(page)).to_have_text("Here I am.")
    assert page.locator(".own-text").count() == 1


def test_a_message_on_its_way_survives_a_reload(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    model.expect(say=("Here I am.",))
    page = visit(world.acme, "alice")
    expect(page.locator("#welcome")).to_be_visible()
    page.evaluate("window.dispatchEvent(new Event('offline'))")
    ask(page, "Are you there?")
    page.reload()
    expect(last_text(page)).to_have_text("Here I am.")
    expect(page.locator(".own-text")).to_have_text(["Are you there?"])


def test_two_windows_of_one_chat_show_the_same(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    path = f"/threads/{world.acme.threads['alice'].pk}"
    first, second = visit(world.acme, "alice", path), visit(world.acme, "alice", path)
    expect(second.locator(".own-text")).to_have_count(1)
    model.expect(say=WORDS[:20], pace=0.02)
    ask(first, "Both?")
    for page in (first, second):
        expect(page.locator(".own-text").last).to_have_text("Both?")
        expect(last_text(page)).to_contain_text("word19")
        wait_until_idle(page)
        assert answers(page).count() == 2


def test_another_assistant_can_be_chosen(world: World, model: ScriptedServer, visit: Visit) -> None:
    with world.acme.scope():
        Assistant.objects.create(
            name="Poet", description="Writes verses.", model="test-model", upstream="default"
        )
    model.expect(say=("A rose.",))
    page = visit(world.acme, "alice")
    page.locator("#assistant-button").click()
    page.get_by_role("menuitemradio", name="Poet").click()
    expect(page.locator("#welcome-name")).to_have_text("Poet")
    ask(page, "A verse")
    expect(last_text(page)).to_have_text("A rose.")
    expect(answers(page).last.locator(".answer-name")).to_have_text("Poet")


def test_a_refused_message_can_be_taken_back(world: World, visit: Visit) -> None:
    page = visit(world.acme, "alice")
    expect(page.locator("#welcome")).to_be_visible()
    with world.acme.scope():
        Assistant.objects.update(enabled=False)
    ask(page, "Anybody?")
    expect(page.locator(".own-note")).to_contain_text("turned off")
    page.get_by_role("button", name="Discard").click()
    expect(page.get_by_label("Message", exact=True)).to_have_value("Anybody?")
    expect(page.locator(".own-text")).to_have_count(0)


def test_a_message_that_is_too_long_stays_in_the_box(world: World, visit: Visit) -> None:
    page = visit(world.acme, "alice")
    expect(page.locator("#welcome")).to_be_visible()
    page.locator("#message").fill("x" * 260_000)
    page.locator("#send").click()
    expect(page.locator(".toast")).to_contain_text("too long")
    expect(page.locator(".own-text")).to_have_count(0)


def test_more_chats_come_as_the_list_is_scrolled(world: World, visit: Visit) -> None:
    with world.acme.scope():
        for number in range(40):
            Thread.objects.create(member=world.acme.alice, title=f"Chat {number}")
    page = visit(world.acme, "alice")
    expect(page.locator("#threads a")).to_have_count(30)
    page.locator("#threads a").last.scroll_into_view_if_needed()
    expect(page.locator("#threads a")).to_have_count(41)
    expect(page.locator("#more-threads")).to_be_hidden()


def test_older_messages_come_as_the_chat_is_scrolled_up(world: World, visit: Visit) -> None:
    thread = world.acme.threads["bob"]
    with world.acme.scope():
        for position in range(3, 101):
            Message.objects.create(
                thread=thread, position=position, role="user", content=[text_part(f"No {position}")]
            )
    page = visit(world.acme, "bob", f"/threads/{thread.pk}")
    expect(page.locator(".own-text").last).to_be_in_viewport()
    assert page.locator(".own-text").count() == 40
    page.locator("#transcript").hover()
    while page.locator(".own-text").count() < 99:
        count = page.locator(".own-text").count()
        page.mouse.wheel(0, -10_000)
        expect(page.locator(".own-text").nth(count)).to_be_attached()
    texts = page.locator(".own-text").all_inner_texts()
    assert texts[1:] == [f"No {position}" for position in range(3, 101)]


def test_a_new_assistant_is_offered_without_a_reload(world: World, visit: Visit) -> None:
    page = visit(world.acme, "alice")
    expect(page.locator("#welcome")).to_be_visible()
    with world.acme.scope():
        Assistant.objects.create(name="Poet", model="demo-scripted", upstream="demo")
    page.locator("#assistant-button").click()
    expect(page.get_by_role("menuitemradio", name="Poet")).to_be_visible()


def test_renaming_changes_list_and_title(world: World, visit: Visit) -> None:
    page = visit(world.acme, "alice", f"/threads/{world.acme.threads['alice'].pk}")
    chat_action(page, "Rename")
    page.get_by_label("Title", exact=True).fill("Lamps")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#title")).to_have_text("Lamps")
    page.reload()
    expect(page.locator("#threads a")).to_have_text("Lamps")


def test_a_deleted_chat_comes_back_with_undo(world: World, visit: Visit) -> None:
    page = visit(world.acme, "alice", f"/threads/{world.acme.threads['alice'].pk}")
    chat_action(page, "Delete")
    expect(page.locator("#threads a")).to_have_count(0)
    expect(page.locator("#welcome")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#threads a")).to_have_count(1)
    expect(page.locator(".own-text")).to_contain_text("CANARY-ACME-ALICE-USER")


def test_back_and_forward_move_between_chats(world: World, visit: Visit) -> None:
    page = visit(world.acme, "alice")
    page.locator("#threads a").first.click()
    expect(page.locator(".own-text")).to_contain_text("CANARY-ACME-ALICE-USER")
    page.go_back()
    expect(page.locator("#welcome")).to_be_visible()
    page.go_forward()
    expect(page.locator(".own-text")).to_contain_text("CANARY-ACME-ALICE-USER")


def test_a_message_longer_than_a_frame_is_sent_all_the_same(
    world: World, model: ScriptedServer, visit: Visit
) -> None:
    model.expect(say=("That was long.",))
    page = visit(world.acme, "alice")
    page.locator("#message").fill("word " * 30_000)
    page.locator("#send").click()
    expect(last_text(page)).to_have_text("That was long.")
    expect(page.locator("#threads [aria-current=page]")).to_be_visible()
