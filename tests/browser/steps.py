"""What a person does on the chat page, and what they wait for."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

ENDED = ".actions:not([hidden]), .ending:not([hidden])"

expect.set_options(timeout=15_000)


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
