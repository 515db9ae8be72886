"""What a person does on the chat page, and what they wait for."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

from tests.clock import WAIT_SECONDS

ENDED = ".actions:not([hidden]), .ending:not([hidden])"
TIMEOUT = WAIT_SECONDS * 1000
# The word "Copied" stays for a moment only: what saw it is marked.
MARK_COPIED = """(button) => {
    const look = () => button.textContent.includes("Copied") && (button.dataset.told = "");
    new MutationObserver(look).observe(button, { childList: true, subtree: true });
}"""

expect.set_options(timeout=TIMEOUT)


def ask(page: Page, text: str) -> None:
    """Type a message and send it."""
    page.get_by_label("Message", exact=True).fill(text)
    page.locator("#send").click()


def answers(page: Page) -> Locator:
    """Return the answers on the page."""
    return page.locator("article.answer")


def last_text(page: Page) -> Locator:
    """Return the text of the last answer."""
    return answers(page).last.locator(".prose")


def wait_until_idle(page: Page) -> None:
    """Wait until no answer is under way."""
    expect(page.locator("#stop")).to_be_hidden()
    expect(answers(page).last.locator(ENDED).first).to_be_attached()


def chat_action(page: Page, action: str) -> None:
    """Choose an action in the menu of the open chat."""
    page.get_by_label("Actions for this chat").click()
    page.locator("#chat-menu").get_by_role("menuitem", name=action).click()


def copy_with(button: Locator) -> str:
    """Press a copy button, see that it says so, and return what was copied."""
    button.evaluate(MARK_COPIED)
    button.click()
    expect(button.page.locator("button[data-told]")).to_be_attached()
    copied: str = button.page.evaluate("navigator.clipboard.readText()")
    return copied
