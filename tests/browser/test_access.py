"""Two companies side by side, one person in both, and what happens when access ends."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from chat.models import Thread
from tests.browser.conftest import Visit, Watch
from tests.browser.steps import ask, last_text
from tests.server import Server
from tests.upstream.server import ScriptedServer
from tests.world import World


def test_signed_out_people_are_sent_to_sign_in(chromium: Browser, site: Server) -> None:
    page = chromium.new_page()
    page.goto(site.url)
    assert page.url.startswith(f"{site.url}/accounts/login/")
    page.close()


def test_a_switch_of_company_in_one_tab_ends_the_other(
    world: World, model: ScriptedServer, visit: Visit, watch: Watch
) -> None:
    watch.allowed.append("status of 409")
    model.expect(say=("Still ", "going ", "on."), held_after=2)
    first = visit(world.acme, "pat")
    expect(first.locator(".company")).to_contain_text("CANARY-ACME-COMPANY")
    ask(first, "Go on")
    expect(last_text(first)).to_contain_text("going")
    second = first.context.new_page()
    second.goto(first.url)
    second.locator("#account-button").click()
    second.get_by_role("menuitem", name="Switch to Globex").click()
    expect(second.locator(".company")).to_contain_text("CANARY-GLOBEX-COMPANY")
    expect(first.get_by_role("dialog")).to_contain_text("You switched to another company")
    model.go_on()
    assert "CANARY-GLOBEX" not in first.locator("#main").inner_html()
    first.get_by_role("link", name="Reload").click()
    expect(first.locator(".company")).to_contain_text("CANARY-GLOBEX-COMPANY")


def test_after_a_switch_nothing_can_be_sent_from_the_old_page(
    world: World, model: ScriptedServer, visit: Visit, watch: Watch
) -> None:
    # A request that the old page had under way is refused.
    watch.allowed.append("status of 409")
    model.expect(say=("Hello from Globex.",))
    page = visit(world.acme, "pat")
    page.locator("#account-button").click()
    page.get_by_role("menuitem", name="Switch to Globex").click()
    expect(page.locator(".company")).to_contain_text("CANARY-GLOBEX-COMPANY")
    ask(page, "Who are you?")
    expect(last_text(page)).to_have_text("Hello from Globex.")
    with world.acme.scope():
        assert not Thread.objects.filter(member=world.acme.pat).exists()


def test_signing_out_closes_the_socket_of_every_tab(
    world: World, visit: Visit, watch: Watch
) -> None:
    watch.allowed.append("status of 401")
    first = visit(world.acme, "alice")
    expect(first.locator("#welcome")).to_be_visible()
    second = first.context.new_page()
    second.goto(first.url)
    second.locator("#account-button").click()
    second.get_by_role("menuitem", name="Sign out").click()
    second.wait_for_url("**/accounts/login/**")
    expect(first.get_by_role("dialog")).to_contain_text("You are signed out")


def test_signing_out_leaves_no_draft_behind(world: World, visit: Visit) -> None:
    page = visit(world.acme, "alice")
    page.get_by_label("Message", exact=True).fill("A secret draft")
    page.reload()
    page.locator("#account-button").click()
    page.get_by_role("menuitem", name="Sign out").click()
    page.wait_for_url("**/accounts/login/**")
    assert "secret" not in page.evaluate("JSON.stringify(localStorage)")


def test_a_chat_of_somebody_else_is_not_found(world: World, visit: Visit, site: Server) -> None:
    page = visit(world.acme, "alice")
    own, foreign = world.acme.threads["bob"].pk, world.globex.threads["gina"].pk
    for thread in (own, foreign, "thread_" + "0" * 24):
        response = page.request.get(f"{site.url}/threads/{thread}")
        assert response.status == 404
