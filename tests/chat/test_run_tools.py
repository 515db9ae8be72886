"""Tools within runs, through a real server: whose data they reach, and what waits for a person."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from typing import Any

import pytest
from django.utils import timezone

from chat.demo.models import Contact, Customer, Order
from chat.models import Assistant, Message, Run, ToolCall
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


async def ask_on(
    socket: ChatSocket, sent: Frame, *, assistant: str, text: str = "And 1044?", **more: Any
) -> Frame:
    """Send another message into the chat whose run waits for a decision."""
    thread = sent["thread"]["id"]
    answer = await socket.say(text, assistant=assistant, thread=thread, **more)
    assert (answer["type"], answer["queued"], answer["run"]) == ("ack", True, None)
    return answer


async def answer_to(socket: ChatSocket, message: str) -> Frame:
    """Return the completed run that answers a message which waited."""

    def is_placed(frame: Frame) -> bool:
        placed: bool = frame["data"].get("id") == message
        return placed and frame["event"] == "thread.message.created"

    run = (await socket.until(is_placed))["run"]
    return await socket.until_ended(run)


@pytest.mark.parametrize(
    ("decision", "status", "call_status"),
    [("approve", "cancelled", "completed"), ("decline", "placed", "declined")],
)
async def test_a_message_waits_behind_an_open_approval(
    model: ModelServer,
    world: World,
    desks: dict[str, str],
    decision: str,
    status: str,
    call_status: str,
) -> None:
    async with chat_socket(model.server, world.acme, "alice") as socket:
        sent, approval = await waiting(model, socket, desks["acme"])
        queued = await ask_on(socket, sent, assistant=desks["acme"])
        [call] = await in_db(calls_of, world.acme, sent["run"]["id"])
        assert (call.status, call.decided_by) == ("waiting", None)
        assert await in_db(order_status, world.acme) == "placed"
        model.upstream.expect(say=("As you decided.",))
        model.upstream.expect(say=("On its way.",), expect_text="And 1044?")
        assert (await decide(socket, sent, approval, decision))["type"] == "ack"
        first = await socket.until_ended(sent["run"]["id"])
        second = await answer_to(socket, queued["message"]["id"])
    assert (first["status"], second["status"]) == ("completed", "completed")
    assert await in_db(order_status, world.acme) == status
    [call] = await in_db(calls_of, world.acme, sent["run"]["id"])
    assert call.status == call_status


async def test_on_another_device_the_approval_and_what_waits_behind_it_are_there(
    model: ModelServer, world: World, desks: dict[str, str]
) -> None:
    async with chat_socket(model.server, world.acme, "alice") as phone:
        sent, approval = await waiting(model, phone, desks["acme"])
        queued = await ask_on(phone, sent, assistant=desks["acme"])
    thread = sent["thread"]["id"]
    async with chat_socket(model.server, world.acme, "alice") as laptop:
        active = (await laptop.ask("subscribe", thread=thread, cursor=None))["active_run"]
        assert (active["status"], active["atrium"]["approvals"]) == ("requires_action", [approval])
        model.upstream.expect(say=("Cancelled.",))
        model.upstream.expect(say=("On its way.",))
        await decide(laptop, sent, approval, "approve")
        assert (await answer_to(laptop, queued["message"]["id"]))["status"] == "completed"
    assert await in_db(order_status, world.acme) == "cancelled"


async def test_what_waits_behind_an_approval_can_be_withdrawn(
    model: ModelServer, world: World, desks: dict[str, str]
) -> None:
    async with chat_socket(model.server, world.acme, "alice") as socket:
        sent, approval = await waiting(model, socket, desks["acme"])
        queued = await ask_on(socket, sent, assistant=desks["acme"])
        await socket.ask("message.delete_queued", message=queued["message"]["id"])
        [call] = await in_db(calls_of, world.acme, sent["run"]["id"])
        assert call.status == "waiting"
        model.upstream.expect(say=("Cancelled.",))
        await decide(socket, sent, approval, "approve")
        assert (await socket.until_ended(sent["run"]["id"]))["status"] == "completed"
    assert await in_db(texts_of, world.acme, sent["thread"]["id"]) == ["Cancel 1042", "Cancelled."]


def texts_of(company: Company, thread: str) -> list[str]:
    with company.scope():
        messages = Message.objects.filter(thread_id=thread).order_by("position")
        return [message.text() for message in messages if message.text()]


def assert_step_ended(socket: ChatSocket, run: Frame, *, call: str) -> None:
    """Assert that the step which waited was told as ended like its run, just ahead of that."""
    ended = [frame["data"] for frame in socket.events].index(run)
    step = socket.events[ended - 1]
    assert step["event"] == f"thread.run.step.{run['status']}"
    assert (step["data"]["run_id"], step["data"]["status"]) == (run["id"], run["status"])
    [told] = step["data"]["step_details"]["tool_calls"]
    assert told["atrium"]["status"] == call


async def test_an_approval_that_expires_lets_the_next_message_be_answered(
    model: ModelServer, world: World, desks: dict[str, str]
) -> None:
    async with chat_socket(model.server, world.acme, "alice") as socket:
        sent, _approval = await waiting(model, socket, desks["acme"])
        queued = await ask_on(socket, sent, assistant=desks["acme"])
        model.upstream.expect(say=("On its way.",))
        await in_db(let_expire, world.acme, sent["run"]["id"])
        run = await socket.until_ended(sent["run"]["id"])
        assert (run["status"], run["atrium"]["reason"]) == ("expired", "approval_expired")
        assert_step_ended(socket, run, call="cancelled")
        assert (await answer_to(socket, queued["message"]["id"]))["status"] == "completed"
    [call] = await in_db(calls_of, world.acme, sent["run"]["id"])
    assert call.status == "cancelled"
    assert await in_db(order_status, world.acme) == "placed"


async def test_stopping_ends_an_approval_and_lets_the_next_message_be_answered(
    model: ModelServer, world: World, desks: dict[str, str]
) -> None:
    async with chat_socket(model.server, world.acme, "alice") as socket:
        sent, approval = await waiting(model, socket, desks["acme"])
        queued = await ask_on(socket, sent, assistant=desks["acme"])
        model.upstream.expect(say=("On its way.",))
        await socket.ask("run.cancel", run=sent["run"]["id"])
        run = await socket.until_ended(sent["run"]["id"])
        assert run["status"] == "cancelled"
        assert_step_ended(socket, run, call="cancelled")
        assert (await answer_to(socket, queued["message"]["id"]))["status"] == "completed"
        refused = await decide(socket, sent, approval, "approve")
    assert refused["error"]["code"] == "nothing_to_decide"
    [call] = await in_db(calls_of, world.acme, sent["run"]["id"])
    assert (call.status, call.decided_by) == ("cancelled", None)


async def test_only_an_interruption_that_is_asked_for_ends_an_approval(
    model: ModelServer, world: World, desks: dict[str, str]
) -> None:
    await in_db(let_interrupt, world.acme, desks["acme"])
    async with chat_socket(model.server, world.acme, "alice") as socket:
        sent, _approval = await waiting(model, socket, desks["acme"])
        queued = await ask_on(socket, sent, assistant=desks["acme"])
        [call] = await in_db(calls_of, world.acme, sent["run"]["id"])
        assert call.status == "waiting"
        model.upstream.expect(say=("On its way.",))
        model.upstream.expect(say=("Stopped.",))
        thread = sent["thread"]["id"]
        stop = await socket.say("Stop", assistant=desks["acme"], thread=thread, busy="interrupt")
        run = await socket.until_ended(sent["run"]["id"])
        assert (run["status"], run["atrium"]["reason"]) == ("cancelled", "interrupted")
        for message in (queued["message"]["id"], stop["message"]["id"]):
            assert (await answer_to(socket, message))["status"] == "completed"
    assert await in_db(order_status, world.acme) == "placed"


def let_interrupt(company: Company, assistant: str) -> None:
    with company.scope():
        Assistant.objects.filter(pk=assistant).update(busy_policy="interrupt")


async def test_a_message_over_http_waits_behind_an_open_approval(
    model: ModelServer, world: World, desks: dict[str, str]
) -> None:
    async with chat_socket(model.server, world.acme, "alice") as socket:
        sent, _approval = await waiting(model, socket, desks["acme"])
        message = {
            "thread": sent["thread"]["id"],
            "client_id": "over-http",
            "assistant": desks["acme"],
            "content": "And 1044?",
            "attachments": None,
            "busy": None,
        }
        answer = await in_db(post_message, world.acme, message)
        assert (answer["queued"], answer["run"]) == (True, None)
        [call] = await in_db(calls_of, world.acme, sent["run"]["id"])
        assert call.status == "waiting"


def post_message(company: Company, message: dict[str, Any]) -> dict[str, Any]:
    client = company.client("alice")
    response = client.post("/page/messages", message, content_type="application/json")
    answer: dict[str, Any] = response.json()
    return answer


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
