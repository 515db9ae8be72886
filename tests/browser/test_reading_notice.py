"""The notice of who can read chats: seen, accessible, and gone once it is acknowledged."""

from __future__ import annotations

from playwright.sync_api import expect

from tenants.actions import update_tenant_settings
from tests.browser.axe import findings
from tests.browser.conftest import Visit
from tests.clock import wait_until
from tests.world import World

COME_INTO_VIEW = """() => {
  dispatchEvent(new Event("focus"));
  return !document.getElementById("reading-notice").hidden;
}"""


def test_the_notice_stays_until_it_is_acknowledged(world: World, visit: Visit) -> None:
    update_tenant_settings(world.acme.principal("olga"), admins_read_threads=True)
    update_tenant_settings(world.acme.principal("olga"), admins_read_threads=False)
    page = visit(world.acme, "alice", "/", viewport={"width": 320, "height": 700})
    notice = page.locator("#reading-notice")
    expect(notice).to_contain_text("company admins could read your chats")
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert findings(page) == []
    page.reload()
    notice.get_by_role("button", name="Got it").focus()
    page.keyboard.press("Enter")
    expect(notice).to_be_hidden()
    expect(page.locator("#message")).to_be_focused()
    page.reload()
    expect(page.locator("#message")).to_be_visible()
    expect(notice).to_be_hidden()
    expect(page.locator(".readers")).to_contain_text("admins could read them")


def test_an_open_page_is_told_of_a_change(world: World, visit: Visit) -> None:
    page = visit(world.acme, "alice", "/")
    notice, line = page.locator("#reading-notice"), page.locator("#readers")
    expect(line.locator("span")).to_have_text("Only you can read your chats.")
    expect(notice).to_be_hidden()
    update_tenant_settings(world.acme.principal("olga"), admins_read_threads=True)
    # The page asks when it comes into view, at most once in five seconds.
    page.evaluate("(now => { Date.now = () => now() + 60_000 })(Date.now)")
    wait_until(lambda: page.evaluate(COME_INTO_VIEW))
    expect(line).to_contain_text("company admins can read your chats")
    expect(notice).to_contain_text("including past ones")
    assert findings(page) == []
    notice.get_by_role("button", name="Got it").click()
    expect(notice).to_be_hidden()


def test_the_profile_lists_who_read_which_chat(world: World, visit: Visit) -> None:
    update_tenant_settings(world.acme.principal("olga"), admins_read_threads=True)
    world.acme.client("adam").get("/admin/chat/thread/")
    page = visit(world.acme, "alice", "/profile/", viewport={"width": 320, "height": 700})
    expect(page.get_by_text("saw in a list")).to_be_visible()
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert findings(page) == []
