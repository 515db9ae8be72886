"""Functions of a program beside our own tools, in runs that a real server executes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from django.utils import timezone
from openai import BadRequestError, OpenAI

from chat.demo.models import Contact, Customer, Order
from chat.models import Run, ToolCall
from tests.api.streaming import DEPRECATED, WEATHER, client_of
from tests.model_server import ModelServer, make_assistant
from tests.upstream.script import Answer, Call
from tests.world import World

pytestmark = pytest.mark.filterwarnings(DEPRECATED)

ORDERS = [{"type": "function", "function": {"name": n}} for n in ("get_order", "cancel_order")]
ARGUMENTS = '{"city": "Bern"}'
CALLING = Answer(calls=(Call(name="get_weather", arguments=ARGUMENTS),))


@pytest.fixture
def alice(model: ModelServer, world: World) -> Iterator[OpenAI]:
    with client_of(model, world.acme, "alice") as client:
        yield client


@pytest.fixture
def desk(model: ModelServer, world: World) -> str:
    """An assistant with tools of both kinds; order 1042 is Alice's."""
    with world.acme.scope():
        customer = Customer.objects.create(name=f"{world.acme.canary}CUSTOMER")
        Contact.objects.create(customer=customer, member=world.acme.people["alice"])
        Order.objects.create(
            number=1042,
            customer=customer,
            status="placed",
            ordered_on=date(2026, 11, 1),
            delivery_address=f"{world.acme.canary}ADDRESS",
        )
    return make_assistant(world.acme, tools=[WEATHER, *ORDERS])


def order_status(world: World) -> str:
    with world.acme.scope():
        return str(Order.objects.get(number=1042).status)


def polled(client: OpenAI, assistant: str, **options: Any) -> Any:
    """Run the assistant on a new thread; return the run when it stops."""
    made = client.beta.threads.create(messages=[{"role": "user", "content": "Hello"}])
    return client.beta.threads.runs.create_and_poll(
        thread_id=made.id, assistant_id=assistant, **options
    )


def answered(client: OpenAI, run: Any, outputs: dict[str, str]) -> Any:
    """Answer the calls of a run by the names of their functions; return it when it stops."""
    calls = run.required_action.submit_tool_outputs.tool_calls
    given: Any = [{"tool_call_id": c.id, "output": outputs[c.function.name]} for c in calls]
    return client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=given
    )


def body(model: ModelServer, number: int = -1) -> dict[str, Any]:
    """Return what the model server was asked."""
    found: dict[str, Any] = model.upstream.model_requests()[number].body
    return found


def outputs_in(asked: dict[str, Any]) -> list[str]:
    return [item["output"] for item in asked["input"] if item["type"] == "function_call_output"]


def test_the_model_is_told_of_a_programs_function(
    model: ModelServer, alice: OpenAI, desk: str
) -> None:
    model.upstream.expect(say=("Hi.",))
    polled(alice, desk)
    told = {tool["name"]: tool for tool in body(model)["tools"]}
    assert told["get_weather"]["parameters"] == WEATHER["function"]["parameters"]  # type: ignore[index]
    assert "order_number" in told["get_order"]["parameters"]["properties"]


def test_a_program_answers_and_the_run_goes_on(
    model: ModelServer, alice: OpenAI, desk: str
) -> None:
    model.upstream.expect(CALLING)
    run = polled(alice, desk)
    assert run.status == "requires_action"
    model.upstream.expect(say=("Sunny.",))
    done = answered(alice, run, {"get_weather": "sun"})
    assert (done.status, done.usage.completion_tokens) == ("completed", 14)
    assert outputs_in(body(model)) == ["sun"]
    assert done.expires_at is None


def test_the_deadline_stays_that_of_the_run(
    model: ModelServer, alice: OpenAI, desk: str, world: World
) -> None:
    model.upstream.expect(CALLING)
    run = polled(alice, desk)
    assert run.expires_at == run.created_at + 600
    model.upstream.expect(say=("Sunny.",))
    answered(alice, run, {"get_weather": "sun"})
    with world.acme.scope():
        assert int(Run.objects.get(pk=run.id).expires_at.timestamp()) == run.expires_at


def test_our_own_tools_run_meanwhile(model: ModelServer, alice: OpenAI, desk: str) -> None:
    both = (
        Call(name="get_order", arguments='{"order_number": 1042}'),
        Call(name="get_weather", arguments=ARGUMENTS),
    )
    model.upstream.expect(Answer(calls=both))
    run = polled(alice, desk)
    [waiting] = run.required_action.submit_tool_outputs.tool_calls
    assert waiting.function.name == "get_weather"
    model.upstream.expect(say=("Sunny.",))
    assert answered(alice, run, {"get_weather": "sun"}).status == "completed"
    ours, theirs = outputs_in(body(model))
    assert ("CANARY-ACME-ADDRESS" in ours, theirs) == (True, "sun")


@pytest.mark.parametrize(("decision", "status"), [("approve", "cancelled"), ("decline", "placed")])
def test_a_program_approves_and_answers_at_once(
    model: ModelServer, alice: OpenAI, desk: str, world: World, decision: str, status: str
) -> None:
    both = (
        Call(name="cancel_order", arguments='{"order_number": 1042}'),
        Call(name="get_weather", arguments=ARGUMENTS),
    )
    model.upstream.expect(Answer(calls=both))
    run = polled(alice, desk)
    assert order_status(world) == "placed"
    model.upstream.expect(say=("Done.",))
    done = answered(alice, run, {"cancel_order": decision, "get_weather": "sun"})
    assert (done.status, order_status(world)) == ("completed", status)


def test_no_output_stands_for_our_own_tool(
    model: ModelServer, alice: OpenAI, desk: str, world: World
) -> None:
    order = Call(name="cancel_order", arguments='{"order_number": 1042}')
    model.upstream.expect(Answer(calls=(order,)))
    run = polled(alice, desk)
    with pytest.raises(BadRequestError, match="'approve' or 'decline'"):
        answered(alice, run, {"cancel_order": '{"cancelled": true}'})
    assert order_status(world) == "placed"


def test_arguments_reach_the_program_as_the_model_wrote_them(
    model: ModelServer, alice: OpenAI, desk: str
) -> None:
    written = '{ "city" :"Zü\\u0072ich",\n"x":1.0 }'
    calls = (Call(name="get_weather", arguments=written), Call(name="get_weather", arguments=""))
    model.upstream.expect(Answer(calls=calls))
    run = polled(alice, desk)
    told = [c.function.arguments for c in run.required_action.submit_tool_outputs.tool_calls]
    assert told == [written, "{}"]


def test_a_program_that_is_late_finds_the_run_expired(
    model: ModelServer, alice: OpenAI, desk: str, world: World
) -> None:
    model.upstream.expect(CALLING)
    run = polled(alice, desk)
    with world.acme.scope():
        Run.objects.filter(pk=run.id).update(expires_at=timezone.now() - timedelta(seconds=1))
    done = alice.beta.threads.runs.poll(run.id, thread_id=run.thread_id)
    while done.status == "requires_action":
        done = alice.beta.threads.runs.poll(run.id, thread_id=run.thread_id)
    assert (done.status, done.required_action) == ("expired", None)
    with pytest.raises(BadRequestError, match="do not accept tool outputs"):
        answered(alice, run, {"get_weather": "sun"})
    with world.acme.scope():
        assert ToolCall.objects.get(run_id=run.id).status == "cancelled"


def test_a_forced_call_is_forced_once(model: ModelServer, alice: OpenAI, desk: str) -> None:
    choice: Any = {"type": "function", "function": {"name": "get_weather"}}
    model.upstream.expect(CALLING)
    run = polled(alice, desk, tool_choice=choice)
    assert body(model)["tool_choice"] == {"type": "function", "name": "get_weather"}
    model.upstream.expect(say=("Sunny.",))
    assert answered(alice, run, {"get_weather": "sun"}).status == "completed"
    assert body(model).get("tool_choice", "auto") == "auto"


def test_the_options_of_a_run_reach_the_model(model: ModelServer, alice: OpenAI, desk: str) -> None:
    schema = {"name": "answer", "schema": {"type": "object"}, "strict": False}
    model.upstream.expect(say=("{}",))
    run = polled(
        alice,
        desk,
        instructions="Rhyme.",
        additional_instructions="In German.",
        temperature=0.5,
        top_p=0.25,
        max_completion_tokens=300,
        parallel_tool_calls=False,
        tool_choice="required",
        tools=[WEATHER],
        response_format={"type": "json_schema", "json_schema": schema},
    )
    asked = body(model)
    assert run.status == "completed"
    assert asked["instructions"] == "Rhyme.\n\nIn German."
    assert (asked["temperature"], asked["top_p"]) == (0.5, 0.25)
    assert (asked["max_output_tokens"], asked["parallel_tool_calls"]) == (300, False)
    assert (asked["tool_choice"], len(asked["tools"])) == ("required", 1)
    assert asked["text"]["format"] == {"type": "json_schema", **schema}


def test_a_conversation_that_the_server_keeps_is_built_anew_after_outputs(
    conversing: ModelServer, world: World
) -> None:
    assistant = make_assistant(world.acme, tools=[WEATHER])
    with client_of(conversing, world.acme, "alice") as client:
        conversing.upstream.expect(CALLING)
        run = polled(client, assistant)
        conversing.upstream.expect(say=("Sunny.",))
        assert answered(client, run, {"get_weather": "sun"}).status == "completed"
    assert "Hello" in json.dumps(body(conversing))
    assert outputs_in(body(conversing)) == ["sun"]
