"""The demonstration: its order desk for each role and company, and how it is loaded."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from chat.conf import conf
from chat.demo.companies import COMPANIES, HARBOR, NORTHWIND
from chat.demo.load import list_sign_ins, load
from chat.demo.models import Contact, Customer, Order, OrderLine
from chat.models import Assistant, File, StoreFile, ToolCall, VectorStore
from chat.tools import dispatch
from chat.tools.dispatch import CallContext
from tenants.authentication import list_memberships
from tenants.models import Membership, User
from tests.chat.tool_runs import call, open_run, perform_one, phase, prepare
from tests.world import Company, World

TOOLS = ("list_orders", "get_order", "update_delivery_address", "cancel_order")


@pytest.fixture
def orders(world: World) -> World:
    """Order 1042 of alice, 1043 of bob, and of gina at the other company; shipped: 1044."""
    for company, people in ((world.acme, ("alice", "bob")), (world.globex, ("gina", "hugo"))):
        with company.scope():
            first, second = (Customer.objects.create(name=f"{name}'s") for name in people)
            for customer, name in ((first, people[0]), (second, people[1])):
                Contact.objects.create(customer=customer, member=company.people[name])
            _order(company, first, 1042, "placed")
            _order(company, second, 1043, "placed")
            _order(company, first, 1044, "shipped")
    return world


def _order(company: Company, customer: Customer, number: int, status: str) -> None:
    order = Order.objects.create(
        number=number,
        customer=customer,
        status=status,
        ordered_on=timezone.localdate(),
        expected_on=timezone.localdate() + timedelta(days=2),
        carrier=f"{company.canary}CARRIER",
        delivery_address=f"{company.canary}ADDRESS",
    )
    OrderLine.objects.create(order=order, name="Tent", quantity=2, price="289.00")


def ask(company: Company, name: str, tool: str, **arguments: Any) -> Any:
    """Let this person's run call a tool of the order desk; return what the model reads."""
    ctx = open_run(company, name, *TOOLS)
    row = perform_one(company, ctx, tool, json.dumps(arguments))
    with company.scope():
        ctx.run.status = "completed"
        ctx.run.save(update_fields=["status"])
    return json.loads(row.output or "")


def numbers(company: Company, name: str) -> list[int]:
    """Return the orders this person is shown."""
    return [each["order_number"] for each in ask(company, name, "list_orders")["orders"]]


def test_members_see_their_own_orders_and_admins_all(orders: World) -> None:
    assert numbers(orders.acme, "alice") == [1044, 1042]
    assert numbers(orders.acme, "bob") == [1043]
    assert numbers(orders.acme, "pat") == []
    assert numbers(orders.acme, "adam") == [1044, 1043, 1042]
    assert numbers(orders.acme, "olga") == [1044, 1043, 1042]


def test_the_list_can_be_narrowed_to_a_status(orders: World) -> None:
    found = ask(orders.acme, "alice", "list_orders", status="shipped")["orders"]
    assert [each["order_number"] for each in found] == [1044]


def test_the_same_number_is_another_order_in_each_company(orders: World) -> None:
    ours = ask(orders.acme, "alice", "get_order", order_number=1042)
    theirs = ask(orders.globex, "gina", "get_order", order_number=1042)
    assert ours["carrier"] == "CANARY-ACME-CARRIER"
    assert theirs["carrier"] == "CANARY-GLOBEX-CARRIER"


def test_an_order_is_told_with_all_that_is_asked_about(orders: World) -> None:
    order = ask(orders.acme, "alice", "get_order", order_number=1042)
    assert order["items"] == [{"quantity": 2, "name": "Tent", "price": "289.00"}]
    assert (order["total"], order["currency"], order["status"]) == ("578.00", "USD", "placed")
    with orders.acme.scope():
        assert order["expected_delivery"] == str(Order.objects.get(number=1042).expected_on)


@pytest.mark.parametrize("tool", ["get_order", "update_delivery_address"])
def test_somebody_else_s_order_is_as_unknown_as_none(orders: World, tool: str) -> None:
    extra = {"address": "5 Elm Street"} if tool.startswith("update") else {}
    foreign = ask(orders.acme, "alice", tool, order_number=1043, **extra)
    missing = ask(orders.acme, "alice", tool, order_number=9999, **extra)
    assert foreign["error"]["code"] == missing["error"]["code"] == "not_found"
    assert str(foreign).replace("1043", "9999") == str(missing)


def test_no_number_is_too_strange(orders: World) -> None:
    for number in (0, -1, 2**31, 2**63 - 1):
        found = ask(orders.acme, "alice", "get_order", order_number=number)
        assert found["error"]["code"] == "not_found"


def test_an_address_changes_until_the_order_is_shipped(orders: World) -> None:
    address = "5 Elm Street,\n Springfield"
    moved = ask(orders.acme, "alice", "update_delivery_address", order_number=1042, address=address)
    late = ask(orders.acme, "alice", "update_delivery_address", order_number=1044, address=address)
    assert moved["delivery_address"] == "5 Elm Street, Springfield"
    assert late["error"]["code"] == "too_late"


def test_blanks_are_no_address(orders: World) -> None:
    found = ask(orders.acme, "alice", "update_delivery_address", order_number=1042, address=" " * 9)
    assert found["error"]["code"] == "invalid_arguments"


def approved(company: Company, ctx: CallContext, number: int) -> ToolCall:
    """Propose to cancel an order, approve, and go on."""
    arguments = json.dumps({"order_number": number})
    (row,) = prepare(company, ctx, call("cancel_order", arguments))
    assert row.status == "waiting"
    with company.scope():
        row.status = "approved"
        row.save(update_fields=["status"])
    ended: ToolCall = phase(dispatch.resume_all)(ctx, [row])[0]
    return ended


def test_cancelling_waits_for_approval_and_then_cancels(orders: World) -> None:
    ended = approved(orders.acme, open_run(orders.acme, "alice", *TOOLS), 1042)
    assert json.loads(ended.output or "")["status"] == "cancelled"
    with orders.acme.scope():
        assert Order.objects.get(number=1042).status == "cancelled"
    with orders.globex.scope():
        assert Order.objects.get(number=1042).status == "placed"


def test_what_is_on_its_way_cannot_be_cancelled(orders: World) -> None:
    ended = approved(orders.acme, open_run(orders.acme, "alice", *TOOLS), 1044)
    assert ended.error_code == "too_late"


@pytest.mark.parametrize("tool", TOOLS)
def test_naming_the_other_company_gets_nothing(orders: World, tool: str) -> None:
    for key, value in (("tenant", "globex"), ("customer", "gina's"), ("order_number", "1042' --")):
        row = ask(orders.acme, "alice", tool, **{"order_number": 1042, key: value})
        assert row["error"]["code"] in ("reserved_argument", "invalid_arguments")
        assert "GLOBEX" not in str(row)


@pytest.fixture
def data_dir(committed: None, tmp_path: Path, settings: Any) -> Path:
    """An empty database and data folder."""
    settings.DATA_DIR = tmp_path
    settings.MEDIA_ROOT = tmp_path / "files"
    return tmp_path


def loaded() -> dict[str, Any]:
    """Run the command and return what it prints."""
    printed = StringIO()
    call_command("load_demo", "--json", stdout=printed)
    found: dict[str, Any] = json.loads(printed.getvalue())
    return found


def test_everybody_on_the_list_can_sign_in(data_dir: Path) -> None:
    people = loaded()["sign_ins"]
    assert len(people) == 10
    for person in people:
        user = authenticate(None, email=person["email"], password=person["password"])
        assert isinstance(user, User)
        assert person["company"] in [each.tenant.name for each in list_memberships(user)]


def test_a_second_load_changes_nothing_and_asks_little(data_dir: Path) -> None:
    first = loaded()
    with CaptureQueriesContext(connection) as asked:
        second = loaded()
    assert (first["loaded"], second["loaded"]) == (True, False)
    assert second["sign_ins"] == first["sign_ins"]
    assert len(asked) == len(COMPANIES)


def test_the_password_is_for_the_owner_of_the_folder_only(data_dir: Path) -> None:
    load()
    assert (data_dir / "demo.json").stat().st_mode & 0o777 == 0o600


def test_every_member_can_ask_for_order_1042(data_dir: Path) -> None:
    load()
    for given, status in ((NORTHWIND, "shipped"), (HARBOR, "packed")):
        with _company(given.slug).scope():
            assert Order.objects.get(number=1042).status == status
            members = Membership.objects.filter(role="member").count()
            customer = Order.objects.get(number=1042).customer_id
            assert Contact.objects.filter(customer=customer).count() == members == 3


def _company(slug: str) -> Company:
    email = next(each.people[0].email for each in COMPANIES if each.slug == slug)
    (membership,) = list_memberships(User.objects.get(email=email))
    return Company(tenant=membership.tenant)


def test_order_numbers_overlap_and_contents_differ() -> None:
    ours, theirs = ({order.number: order for order in each.orders} for each in COMPANIES)
    assert ours.keys() == theirs.keys()
    assert all(ours[number].lines != theirs[number].lines for number in ours)


def test_half_a_load_is_mended(data_dir: Path) -> None:
    first = loaded()
    (data_dir / "demo.json").unlink()
    again = loaded()
    assert again["loaded"]
    assert again["sign_ins"][0]["password"] != first["sign_ins"][0]["password"]
    person = again["sign_ins"][0]
    assert authenticate(None, email=person["email"], password=person["password"]) is not None
    with _company("harbor").scope():
        assert (Order.objects.count(), Assistant.objects.count()) == (6, 1)


def test_a_broken_record_is_replaced(data_dir: Path) -> None:
    (data_dir / "demo.json").write_text('{"password": ')
    assert load()
    assert not load()


def test_the_order_desk_is_the_default_and_has_all_four_tools(data_dir: Path) -> None:
    load()
    with _company("northwind").scope():
        desk = Assistant.objects.get()
        assert (desk.is_default, desk.upstream, tuple(desk.list_function_names())) == (
            True,
            "demo",
            TOOLS,
        )
        assert desk.suggested_prompts[0] == "Where is my order 1042?"


def test_a_connected_model_brings_two_more_assistants(data_dir: Path, settings: Any) -> None:
    load()
    real = {**conf.upstreams, "default": {"MODEL": "real-model"}}
    settings.CHAT = {**settings.CHAT, "UPSTREAMS": real}
    assert load()
    assert not load()
    with _company("harbor").scope():
        made = {each.name: each for each in Assistant.objects.all()}
    assert made.keys() == {"Order desk", "Writing partner", "Order desk, live"}
    assert made["Order desk, live"].is_default
    assert made["Order desk, live"].tool_resources == made["Order desk"].tool_resources != {}
    assert (made["Writing partner"].model, made["Writing partner"].tools) == ("real-model", [])


def test_each_company_has_its_own_documents_to_search(data_dir: Path) -> None:
    load()
    for slug in ("northwind", "harbor"):
        with _company(slug).scope():
            desk, store = Assistant.objects.get(), VectorStore.objects.get()
            rows = list(StoreFile.objects.select_related("file"))
            paths = [default_storage.path(row.file.storage_key) for row in rows]
        assert desk.tool_resources["file_search"] == {"vector_store_ids": [store.pk]}
        assert [tool["type"] for tool in desk.tools][:2] == ["file_search", "code_interpreter"]
        assert {row.file.filename for row in rows} == {"Product guide.md", "Returns policy.md"}
        read = [Path(path).read_text() for path in paths]
        assert all(("Northwind" in text) == (slug == "northwind") for text in read)


def test_documents_are_read_in_the_background(data_dir: Path) -> None:
    load()
    jobs = ProcrastinateJob.objects.filter(task_name="chat.tasks.index_store_file")
    assert jobs.filter(status="todo").count() == 4
    with _company("harbor").scope():
        assert set(StoreFile.objects.values_list("status", flat=True)) == {"in_progress"}


def test_an_installation_from_before_gets_the_documents(data_dir: Path) -> None:
    load()
    record = json.loads((data_dir / "demo.json").read_text())
    del record["documents"]
    (data_dir / "demo.json").write_text(json.dumps(record))
    with _company("harbor").scope():
        VectorStore.objects.all().delete()
        Assistant.objects.update(tools=[], tool_resources={}, suggested_prompts=["Mine"])
    assert load()
    assert not load()
    with _company("harbor").scope():
        desk = Assistant.objects.get()
        assert desk.suggested_prompts == ["Mine", "What is your return policy?"]
        assert StoreFile.objects.filter(store=VectorStore.objects.get()).count() == 2
        assert File.objects.count() == 2


def test_what_an_admin_deleted_stays_deleted(data_dir: Path) -> None:
    load()
    with _company("harbor").scope():
        VectorStore.objects.all().delete()
    assert not load()
    with _company("harbor").scope():
        assert not VectorStore.objects.exists()


def test_an_assistant_that_was_deleted_stays_deleted(data_dir: Path, settings: Any) -> None:
    load()
    with _company("harbor").scope():
        Assistant.objects.all().delete()
    real = {**conf.upstreams, "default": {"MODEL": "real-model"}}
    settings.CHAT = {**settings.CHAT, "UPSTREAMS": real}
    load()
    with _company("harbor").scope():
        assert not Assistant.objects.filter(name="Order desk").exists()


def test_nobody_can_sign_in_before_it_is_loaded(data_dir: Path) -> None:
    assert list_sign_ins() == []


def test_people_read_the_sign_ins_company_by_company(data_dir: Path) -> None:
    printed = StringIO()
    call_command("load_demo", stdout=printed)
    lines = printed.getvalue().splitlines()
    assert lines[0].startswith("Demonstration sign-ins, all with the password outdoor-")
    assert "  Northwind Outfitters" in lines
    assert any(line.split() == ["maya@northwind.example", "member"] for line in lines)
