"""The pages around signing in: accessible, no wider than their window, usable by keys alone."""

from __future__ import annotations

import re
from typing import Literal

import pytest
from playwright.sync_api import expect

from tests.browser.axe import findings
from tests.browser.conftest import Visit
from tests.browser.steps import copy_with
from tests.world import PASSWORD, World

SIGNED_OUT = ["/accounts/login/", "/accounts/password/reset/"]
SIGNED_IN = [
    "/profile/",
    "/keys/",
    "/companies/",
    "/accounts/password/change/",
    "/accounts/second-factor/",
    "/accounts/second-factor/app/on/",
    "/accounts/sign-ins/",
    "/accounts/logout/",
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", [*SIGNED_IN, *SIGNED_OUT, "invitation"])
def test_page_has_no_axe_finding_and_fits(
    world: World, visit: Visit, path: str, scheme: Literal["light", "dark"]
) -> None:
    if path == "invitation":
        path = f"/invitations/{world.acme.invitation_token}/"
    viewport = {"width": 320, "height": 700}
    page = visit(world.acme, "pat", "/profile/", viewport=viewport, color_scheme=scheme)
    if path not in SIGNED_IN:
        page.context.clear_cookies()
    page.goto(page.url.partition("/profile/")[0] + path)
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert findings(page) == []


def test_signing_in_and_choosing_takes_keys_alone(world: World, visit: Visit) -> None:
    page = visit(world.acme, "pat", "/profile/")
    page.context.clear_cookies()
    page.goto(page.url.partition("/profile/")[0] + "/accounts/login/")
    page.get_by_label("Email address").focus()
    page.keyboard.type("pat@both.example")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Choose a company")).to_be_visible()
    page.get_by_role("button", name="Globex").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".company")).to_contain_text("Globex")
    page.goto(page.url.rstrip("/") + "/profile/")
    expect(page.get_by_role("heading", name="Your profile at Globex")).to_be_visible()


@pytest.mark.parametrize("width", [320, 1280])
def test_a_key_is_made_copied_and_revoked(world: World, visit: Visit, width: int) -> None:
    page = visit(
        world.acme,
        "adam",
        "/keys/",
        viewport={"width": width, "height": 800},
        permissions=["clipboard-read", "clipboard-write"],
    )
    page.get_by_label("Name", exact=True).fill("Nightly import of the orders of the web shop")
    page.get_by_role("button", name="Create key").click()
    secret = page.get_by_label("Key", exact=True)
    expect(secret).to_have_value(re.compile(r"atr_\w{54}"))
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert findings(page) == []
    assert copy_with(page.get_by_role("button", name="Copy")) == secret.input_value()
    page.get_by_role("button", name="Revoke Nightly").click()
    expect(page.get_by_text("has been revoked")).to_be_visible()
    expect(page.get_by_text("You have no keys.")).to_be_visible()


def test_the_chat_page_leads_to_the_keys(world: World, visit: Visit) -> None:
    page = visit(world.acme, "alice")
    page.locator("#account-button").click()
    page.get_by_role("menuitem", name="API keys").click()
    expect(page.get_by_role("heading", name="API keys")).to_be_visible()
    expect(page.get_by_label("act on behalf of")).to_have_count(0)
