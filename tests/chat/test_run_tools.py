"""Tools within runs, through a real server: whose data they reach, and what waits for a person."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from typing import Any

import pytest
from django.utils import timezone

from chat.demo.models import Contact, Customer, Order
from chat.models import Run, ToolCall
from tenants.db import in_db
from tenants.models import AuditEvent
from tests.model_server import ModelServer, make_assistant
from tests.socket_client import ChatSocket, Frame, chat_socket
from tests.upstream.script import Answer, Call
from tests.world import Company, World

TOOLS = [
    {"type": "function", "function": {"name": name}}
    for name in ("list_orders", "get_order", "update_delivery_address", "cancel_order")
]


@pytest.fixture
def desks(model: ModelServer, world: World) -> dict[str, str]:
    """An order desk in each tenant; order 1042 belongs to the first member of each."""
    return {company.tenant.slug: make_desk(company) for company in (world.acme, world.globex)}


def make_desk(company: Company) -> str:
    with company.scope():
        customer = Customer.objects.create(name=f"{company.canary}CUSTOMER")
        Contact.objects.create(customer=customer, member=company.people[company.member_names[0]])
        Order.objects.create(
            number=1042,
            customer=customer,
            status="placed",
            ordered_on=date(2026, 11, 1),
            delivery_address=f"{company.canary}ADDRESS",
        )
    return make_assistant(company, tools=TOOLS)


def order_status(company: Company) -> str:
    with company.scope():
        return str(Order.objects.get(number=1042).status)


def calls_of(company: Company, run: str) -> list[ToolCall]:
    with company.scope():
        return list(ToolCall.objects.filter(run_id=run).order_by("round", "index"))


def calling(name: str, arguments: str = '{"order_number": 1042}') -> Answer:
    return Answer(calls=(Call(name=name, arguments=arguments),))


async def test_the_model_sees_the_callers_own_order(
    model: ModelServer, world: World, desks: dict[str, str]
) -> None:
    for company, name in ((world.acme, "alice"), (world.globex, "gina")):
        model.upstream.expect(calling("get_order"))
        model.upstream.expect(say=("Here it is.",))
        async with chat_socket(model.server, company, name) as socket:
            sent = await socket.say("Where is 1042?", assistant=desks[company.tenant.slug])
            await socket.until_ended(sent["run"]["id"])
        body = str(model.upstream.model_requests()[-1].body)
        other = world.globex if company is world.acme else world.acme
        assert f"{company.canary}ADDRESS" in body
        assert other.canary not in body


async def test_a_colleague_without_the_order_gets_what_nobody_has(
    model: ModelServer, world: World, desks: dict[str, str]
) -> None:
    outputs = []
    for number in (1042, 9999):
        model.upstream.expect(calling("get_order", f'{{"order_number": {number}}}'))
        model.upstream.expect(say=("No.",))
        async with chat_socket(model.server, world.acme, "bob") as socket:
            sent = await socket.say("Where is it?", assistant=desks["acme"])
            await socket.until_ended(sent["run"]["id"])
        [call] = await in_db(calls_of, world.acme, sent["run"]["id"])
        outputs.append((call.output or "").replace(str(number), "N"))
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    "arguments",
    [
        '{"order_number": 1042, "tenant": "globex"}',
        '{"order_number": 1042, "tenant_id": "globex", "user": "gina"}',
        '{"order_number": 1042, "order_number": 1043}',
        '{"order_number": "1042"}',
        '{"order_number": 1042.0}',
        '{"order_number": NaN}',
        '["order_number"]',
        "",
        "{",
    ],
)
async def test_arguments_that_are_not_the_schemas_are_refused_to_the_model(
    model: ModelServer, world: World, desks: dict[str, str], arguments: str
) -> None:
    model.upstream.expect(calling("cancel_order", arguments))
    model.upstream.expect(say=("I could not.",))
    async with chat_socket(model.server, world.acme, "alice") as socket:
        sent = await socket.say("Cancel 1042", assistant=desks["acme"])
        run = await socket.until_ended(sent["run"]["id"])
    assert run["status"] == "completed"
    [call] = await in_db(calls_of, world.acme, run["id"])
    assert call.status == "refused"
    assert await in_db(order_status, world.acme) == "placed"


async def waiting(model: ModelServer, socket: ChatSocket, assistant: str) -> tuple[Frame, Frame]:
    """Ask for a cancellation; return the ack and the approval that waits."""
    model.upstream.expect(calling("cancel_order"))
    sent = await socket.say("Cancel 1042", assistant=assistant)
    event = await socket.until_event("thread.run.requires_action")
    [approval] = event["data"]["atrium"]["approvals"]
    return sent, approval


@pytest.mark.parametrize(
    ("decision", "status", "call_status"),
    [("approve", "cancelled", "completed"), ("decline", "placed", "declined")],
)
async def test_approval_both_ways(
    model: ModelServer,
    world: World,
    desks: dict[str, str],
    decision: str,
    status: str,
    call_status: str,
) -> None:
    async with chat_socket(model.server, world.acme, "alice") as socket:
        sent, approval = await waiting(model, socket, desks["acme"])
        assert approval["arguments"] == {"order_number": 1042}
        assert await in_db(order_status, world.acme) == "placed"
        model.upstream.expect(say=("Done.",))
        decided = await decide(socket, sent, approval, decision)
        assert decided["type"] == "ack"
        run = await socket.until_ended(sent["run"]["id"])
    assert run["status"] == "completed"
    assert await in_db(order_status, world.acme) == status
    [call] = await in_db(calls_of, world.acme, run["id"])
    assert call.status == call_status


async def decide(
    socket: ChatSocket, sent: Frame, approval: Frame, decision: str, **more: Any
) -> Frame:
    fields = {"arguments_hash": approval["arguments_hash"], **more}
    return await socket.ask(
        "tool.decide",
        run=sent["run"]["id"],
        call=approval["call_id"],
        decision=decision,
        **fields,
    )


async def test_an_approval_of_other_arguments_is_void(
    model: ModelServer, world: World, desks: dict[str, str]
) -> None:
    async with chat_socket(model.server, world.acme, "alice") as socket:
        sent, approval = await waiting(model, socket, desks["acme"])
        refused = await decide(socket, sent, approval, "approve", arguments_hash="0" * 64)
    assert refused["error"]["code"] == "approval_changed"
    assert await in_db(order_status, world.acme) == "placed"


async def test_nobody_else_can_approve(
    model: ModelServer, world: World, desks: dict[str, str]
) -> None:
    async with chat_socket(model.server, world.acme, "alice") as socket:
        sent, approval = await waiting(model, socket, desks["acme"])
    for company, name in ((world.acme, "bob"), (world.acme, "adam"), (world.globex, "otto")):
        async with chat_socket(model.server, company, name) as socket:
            refused = await decide(socket, sent, approval, "approve")
            assert refused["error"]["code"] == "not_found"
    assert await in_db(order_status, world.acme) == "placed"


async def test_two_clicks_decide_once(
    model: ModelServer, world: World, desks: dict[str, str]
) -> None:
    async with (
        chat_socket(model.server, world.acme, "alice") as first,
        chat_socket(model.server, world.acme, "alice") as second,
    ):
        sent, approval = await waiting(model, first, desks["acme"])
        model.upstream.expect(say=("Done.",))
        answers = await asyncio.gather(
            decide(first, sent, approval, "approve"), decide(second, sent, approval, "decline")
        )
        await first.until_ended(sent["run"]["id"])
    assert sorted(answer["type"] for answer in answers) == ["ack", "error"]


async def test_writing_on_declines(model: ModelServer, world: World, desks: dict[str, str]) -> None:
    async with chat_socket(model.server, world.acme, "alice") as socket:
        sent, _approval = await waiting(model, socket, desks["acme"])
        model.upstream.expect(say=("Then not.",))
        model.upstream.expect(say=("Hello again.",))
        thread = sent["thread"]["id"]
        await socket.say("Never mind", assistant=desks["acme"], thread=thread)
        await socket.until_ended(sent["run"]["id"])
        await socket.until(
            lambda f: f["event"] == "thread.run.completed" and f["run"] != sent["run"]["id"]
        )
    [call] = await in_db(calls_of, world.acme, sent["run"]["id"])
    assert call.status == "declined"


async def test_an_approval_nobody_gives_expires(
    model: ModelServer, world: World, desks: dict[str, str]
) -> None:
    async with chat_socket(model.server, world.acme, "alice") as socket:
        sent, approval = await waiting(model, socket, desks["acme"])
        await in_db(let_expire, world.acme, sent["run"]["id"])
        run = await socket.until_ended(sent["run"]["id"])
        assert (run["status"], run["atrium"]["reason"]) == ("expired", "approval_expired")
        refused = await decide(socket, sent, approval, "approve")
    assert refused["error"]["code"] == "nothing_to_decide"
    assert await in_db(order_status, world.acme) == "placed"


def let_expire(company: Company, run: str) -> None:
    with company.scope():
        past = timezone.now() - timedelta(seconds=1)
        Run.objects.filter(pk=run).update(expires_at=past)


async def test_calling_in_circles_ends_the_run(
    model: ModelServer, world: World, desks: dict[str, str]
) -> None:
    for _ in range(3):
        model.upstream.expect(calling("list_orders", "{}"))
    async with chat_socket(model.server, world.acme, "alice") as socket:
        sent = await socket.say("Loop", assistant=desks["acme"])
        run = await socket.until_ended(sent["run"]["id"])
    assert (run["status"], run["atrium"]["reason"]) == ("failed", "loop")


async def test_a_call_leaves_two_audit_events(
    model: ModelServer, world: World, desks: dict[str, str]
) -> None:
    model.upstream.expect(calling("get_order"))
    model.upstream.expect(say=("There.",))
    async with chat_socket(model.server, world.acme, "alice") as socket:
        sent = await socket.say("Where is 1042?", assistant=desks["acme"])
        await socket.until_ended(sent["run"]["id"])

    def actions() -> list[str]:
        with world.acme.scope():
            events = AuditEvent.objects.filter(action__startswith="tool.")
            return list(events.order_by("created_at").values_list("action", flat=True))

    assert (await in_db(actions))[-2:] == ["tool.attempted", "tool.ended"]
