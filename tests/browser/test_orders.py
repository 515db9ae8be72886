"""The demonstration's order desk on the page: both companies at once, and approvals."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from urllib.parse import urlsplit

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from chat.demo.models import Contact, Customer, Order, OrderLine
from chat.models import TenantPolicy
from tests.browser.axe import findings
from tests.browser.conftest import Visit
from tests.browser.steps import answers, ask, last_text, wait_until_idle
from tests.upstream.script import Answer, Call
from tests.upstream.server import ScriptedServer
from tests.world import Company, World

TOOLS = ("list_orders", "get_order", "update_delivery_address", "cancel_order")


@pytest.fixture
def shops(world: World) -> World:
    """Both companies with an order 1042 of their first member, and the scripted order desk."""
    for company in (world.acme, world.globex):
        with company.scope():
            company.assistant.tools = [
                {"type": "function", "function": {"name": name}} for name in TOOLS
            ]
            company.assistant.save()
            _order(company)
    return world


def _order(company: Company) -> None:
    customer = Customer.objects.create(name=f"{company.canary}CUSTOMER")
    Contact.objects.create(customer=customer, member=company.people[company.member_names[0]])
    today = timezone.localdate()
    order = Order.objects.create(
        number=1042,
        customer=customer,
        status="placed",
        ordered_on=today,
        expected_on=today + timedelta(days=3),
        carrier=f"{company.canary}CARRIER",
        delivery_address=f"{company.canary}STREET 1",
    )
    OrderLine.objects.create(
        order=order, name=f"{company.canary}TENT", quantity=2, price=Decimal("79.00")
    )


def status_of_order(company: Company) -> str:
    """Return where order 1042 is now."""
    with company.scope():
        order: Order = Order.objects.get(number=1042)
        return str(order.status)


def ask_to_cancel(page: Page) -> None:
    """Ask for the cancellation and wait for the card."""
    ask(page, "Cancel order 1042")
    expect(page.locator(".approval")).to_be_visible()


def test_the_same_question_is_answered_from_the_own_company_at_the_same_time(
    shops: World, visit: Visit
) -> None:
    acme, globex = visit(shops.acme, "alice"), visit(shops.globex, "gina")
    for page in (acme, globex):
        ask(page, "Where is my order 1042?")
    expect(last_text(acme)).to_contain_text("CANARY-ACME-CARRIER")
    expect(last_text(globex)).to_contain_text("CANARY-GLOBEX-CARRIER")
    for page in (acme, globex):
        wait_until_idle(page)
    assert "CANARY-GLOBEX" not in acme.content()
    assert "CANARY-ACME" not in globex.content()


def test_a_step_folds_out_to_what_was_asked_and_found(shops: World, visit: Visit) -> None:
    page = visit(shops.acme, "alice")
    ask(page, "Where is my order 1042?")
    wait_until_idle(page)
    step = page.locator(".step").first
    expect(step).to_contain_text("Look up order")
    step.locator("summary").click()
    expect(step.locator("dl").first.locator("dd")).to_have_text("1042")
    expect(step.locator("td", has_text="CANARY-ACME-TENT")).to_be_visible()
    assert findings(page) == []


def test_approving_does_exactly_what_the_card_shows(shops: World, visit: Visit) -> None:
    page = visit(shops.acme, "alice")
    ask_to_cancel(page)
    expect(page.locator(".approval dd")).to_have_text("1042")
    assert findings(page) == []
    assert status_of_order(shops.acme) == "placed"
    page.locator(".approval").get_by_role("button", name="Cancel order").click()
    expect(page.locator(".approval")).to_be_hidden()
    wait_until_idle(page)
    assert (status_of_order(shops.acme), status_of_order(shops.globex)) == ("cancelled", "placed")


def test_declining_changes_nothing_and_the_answer_goes_on(shops: World, visit: Visit) -> None:
    page = visit(shops.acme, "alice")
    ask_to_cancel(page)
    page.get_by_role("button", name="Decline").click()
    expect(page.locator(".approval")).to_be_hidden()
    wait_until_idle(page)
    expect(page.locator(".step").first).to_contain_text("declined")
    expect(last_text(page)).not_to_be_empty()
    assert status_of_order(shops.acme) == "placed"


def test_a_stopped_approval_does_not_wait_for_anybody(shops: World, visit: Visit) -> None:
    page = visit(shops.acme, "alice")
    ask_to_cancel(page)
    expect(page.locator(".step").first).to_contain_text("needs approval")
    page.locator("#stop").click()
    wait_until_idle(page)
    expect(page.locator(".approval")).to_be_hidden()
    expect(page.locator(".step").first).to_contain_text("stopped")
    assert status_of_order(shops.acme) == "placed"


def test_a_card_is_still_there_after_a_reload(shops: World, visit: Visit) -> None:
    page = visit(shops.acme, "alice")
    ask_to_cancel(page)
    page.reload()
    page.locator(".approval").get_by_role("button", name="Cancel order").click()
    wait_until_idle(page)
    assert status_of_order(shops.acme) == "cancelled"


def test_a_card_hides_nothing_of_a_value(shops: World, visit: Visit, model: ScriptedServer) -> None:
    arguments = '{"order_number": 1042, "address": "1 Elm\\u202e Street\\u200b <b>"}'
    with shops.acme.scope():
        TenantPolicy.objects.update_or_create(
            defaults={"approval_tools": ["update_delivery_address"]}
        )
    call = Call(name="update_delivery_address", arguments=arguments)
    model.expect(Answer(calls=(call,)))
    model.expect(say=("As you wish.",))
    page = visit(shops.acme, "alice")
    ask(page, "Send it to Elm Street")
    shown = page.locator(".approval dd")
    expect(shown).to_have_text(["1042", "1 Elm\\u202e Street\\u200b <b>"])
    page.get_by_role("button", name="Decline").click()
    expect(last_text(page)).to_have_text("As you wish.")
    wait_until_idle(page)


@pytest.mark.parametrize(
    ("button", "status"), [("Cancel order", "cancelled"), ("Decline", "placed")]
)
def test_a_message_waits_for_the_decision_and_is_answered_after_it(
    shops: World, visit: Visit, button: str, status: str
) -> None:
    page = visit(shops.acme, "alice")
    ask_to_cancel(page)
    expect(page.get_by_text("Waiting for your approval above")).to_be_visible()
    ask(page, "Where is my order 1042?")
    expect(page.locator("#queue li")).to_contain_text("Where is my order 1042?")
    page.reload()
    expect(page.get_by_text("Waiting for your approval above")).to_be_visible()
    expect(page.locator("#queue li")).to_contain_text("Where is my order 1042?")
    expect(page.locator(".approval")).to_be_visible()
    assert findings(page) == []
    assert status_of_order(shops.acme) == "placed"
    page.locator(".approval").get_by_role("button", name=button).click()
    expect(page.get_by_text("Waiting for your approval above")).to_be_hidden()
    expect(answers(page)).to_have_count(2)
    expect(last_text(page)).to_contain_text("CANARY-ACME-CARRIER")
    wait_until_idle(page)
    expect(page.locator("#queue")).to_be_hidden()
    assert status_of_order(shops.acme) == status


def test_on_another_device_the_message_waits_and_can_be_taken_back(
    shops: World, visit: Visit
) -> None:
    phone = visit(shops.acme, "alice")
    ask_to_cancel(phone)
    ask(phone, "And the others?")
    expect(phone.locator("#queue li")).to_contain_text("And the others?")
    laptop = visit(shops.acme, "alice", urlsplit(phone.url).path)
    laptop.locator("#queue").get_by_role("button", name="Remove").click()
    for page in (laptop, phone):
        expect(page.locator("#queue li")).to_have_count(0)
        expect(page.get_by_text("Waiting for your approval above")).to_be_visible()
        expect(page.locator(".approval")).to_be_visible()
    assert status_of_order(shops.acme) == "placed"
