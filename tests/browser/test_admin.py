"""The admin in a real browser: accessible, within its policy, no wider than its window."""

from __future__ import annotations

from io import BytesIO
from typing import Literal

import pytest
from django.contrib.admin.utils import quote
from playwright.sync_api import Page, expect

from chat.actions.vector_stores.collection_uploads import create_documents
from chat.actions.vector_stores.manage import create_store
from chat.models import StoreFile
from tests.browser.axe import findings
from tests.browser.conftest import Visit
from tests.browser.steps import copy_with
from tests.world import Company, World

WIDTHS = (320, 1280)


def pages_of(company: Company) -> list[str]:
    return [
        "",
        "chat/assistant/",
        "chat/assistant/add/",
        f"chat/assistant/{quote(company.assistant.pk)}/change/",
        "chat/vectorstore/",
        f"chat/vectorstore/{collection_of(company)}/change/",
        "chat/file/add/",
        "chat/run/",
        f"chat/run/{quote(company.runs['alice'].pk)}/change/",
        "chat/usage/",
        "chat/tenantpolicy/add/",
        "tenants/membership/",
        f"tenants/membership/{company.alice.pk}/change/",
        f"tenants/membership/{company.alice.pk}/delete/",
        "tenants/apikey/add/",
        f"tenants/tenant/{company.tenant.pk}/change/",
        "tenants/auditevent/",
    ]


def collection_of(company: Company) -> str:
    """Return the id of a collection with a document that could not be read."""
    principal = company.principal("adam")
    store = create_store(principal, name="Policies", description="Returns and guarantees")
    content = BytesIO(b"Thirty days.")
    create_documents(principal, store.pk, [("A rather long name of a document.txt", content)])
    with company.scope():
        StoreFile.objects.update(status="failed", error_message="The file is damaged.")
    return str(quote(store.pk))


def is_too_wide(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_have_no_axe_finding_and_fit(
    world: World, visit: Visit, width: int, scheme: Literal["light", "dark"]
) -> None:
    page = visit(
        world.acme,
        "olga",
        "/admin/",
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
    )
    start = page.url
    wrong = {}
    for path in pages_of(world.acme):
        page.goto(start + path)
        expect(page.locator("main h1")).to_be_visible()
        if found := [*findings(page), *(["too wide"] if is_too_wide(page) else [])]:
            wrong[path] = found
    assert wrong == {}


def test_an_assistant_is_made_and_its_connection_tested(world: World, visit: Visit) -> None:
    page = visit(world.acme, "adam", "/admin/chat/assistant/")
    page.get_by_role("link", name="Add assistant").click()
    page.get_by_label("Name").fill("Returns desk")
    page.get_by_label("Model server").select_option("demo")
    page.get_by_label("Model*").fill("demo-scripted")
    page.get_by_label("Look up order").check()
    page.get_by_role("button", name="Save and continue editing").click()
    page.get_by_role("button", name="Test the connection").click()
    expect(page.get_by_text("demo answers with demo-scripted.")).to_be_visible()
    with world.acme.scope():
        made = world.acme.assistant.__class__.objects.get(name="Returns desk")
    assert made.list_function_names() == ["get_order"]


def test_documents_are_added_to_a_new_collection(world: World, visit: Visit) -> None:
    page = visit(world.acme, "adam", "/admin/chat/vectorstore/add/")
    page.get_by_label("Name").fill("Policies")
    page.get_by_role("button", name="Save", exact=True).click()
    several = [
        {"name": f"{name}.txt", "mimeType": "text/plain", "buffer": b"Thirty days to return."}
        for name in ("returns", "guarantee")
    ]
    chosen = page.get_by_label("Choose files")
    most = chosen.get_attribute("data-most")
    chosen.evaluate("field => field.dataset.most = 9")
    chosen.set_input_files(several)  # type: ignore[arg-type]
    assert "too large. The limit is 512" in chosen.evaluate("field => field.validationMessage")
    chosen.evaluate("(field, most) => field.dataset.most = most", most)
    chosen.set_input_files(several)  # type: ignore[arg-type]
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("link", name="guarantee.txt")).to_be_visible()
    page.get_by_role("button", name="Remove returns.txt from the collection").click()
    expect(page.get_by_text("returns.txt has been removed from the collection.")).to_be_visible()


def test_the_menu_and_the_filters_open_by_keys(world: World, visit: Visit) -> None:
    page = visit(world.acme, "adam", "/admin/chat/run/", viewport={"width": 390, "height": 844})
    page.get_by_role("button", name="Open the menu").press("Enter")
    expect(page.get_by_role("link", name="Audit log")).to_be_visible()
    assert findings(page) == []
    page.get_by_role("button", name="Close the menu").press("Enter")
    page.get_by_role("button", name="Filters").press("Enter")
    expect(page.get_by_role("link", name="failed")).to_be_visible()
    assert findings(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="failed")).to_be_hidden()


def test_an_invitations_link_can_be_copied(world: World, visit: Visit) -> None:
    page = visit(
        world.acme,
        "adam",
        "/admin/tenants/invitation/add/",
        permissions=["clipboard-read", "clipboard-write"],
    )
    page.get_by_label("E-mail address").fill("new@acme.example")
    page.get_by_role("button", name="Save").last.click()
    assert "/invitations/" in copy_with(page.get_by_role("button", name="Copy"))
    assert findings(page) == []
