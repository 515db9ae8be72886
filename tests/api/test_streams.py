"""Runs as event streams, read by the official client from a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openai import APIError, OpenAI

from chat.models import Message, ToolCall
from tests.api.streaming import DEPRECATED, WEATHER, client_of, names_of, text_of
from tests.model_server import ModelServer, make_assistant
from tests.upstream.script import Answer, Call
from tests.world import World

pytestmark = pytest.mark.filterwarnings(DEPRECATED)

BEGINNING = ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
MESSAGE = [
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.message.created",
    "thread.message.in_progress",
    "thread.message.delta",
    "thread.message.completed",
    "thread.run.step.completed",
]
CALLS = ["thread.run.step.created", "thread.run.step.in_progress", "thread.run.step.delta"]
SAID = ("Hel", "lo ", "there 🌍🏽.")


@pytest.fixture
def alice(model: ModelServer, world: World) -> Iterator[OpenAI]:
    with client_of(model, world.acme, "alice") as client:
        yield client


def asked(client: OpenAI, text: str = "Hello") -> str:
    """Make a thread with one message; return its id."""
    made = client.beta.threads.create(messages=[{"role": "user", "content": text}])
    return str(made.id)


def streamed(client: OpenAI, assistant: str, **options: Any) -> list[Any]:
    """Return all events of a new run on a new thread."""
    return list(
        client.beta.threads.runs.create(
            thread_id=asked(client), assistant_id=assistant, stream=True, **options
        )
    )


def test_a_run_is_streamed_in_the_official_order(model: ModelServer, alice: OpenAI) -> None:
    model.upstream.expect(say=SAID, pace=0.02)
    events = streamed(alice, model.acme)
    assert names_of(events) == [*BEGINNING, *MESSAGE, "thread.run.completed"]
    assert text_of(events) == "".join(SAID)


def test_a_thread_and_its_run_are_streamed_together(model: ModelServer, alice: OpenAI) -> None:
    model.upstream.expect(say=SAID)
    thread: Any = {"messages": [{"role": "user", "content": "Hi"}]}
    events: list[Any] = list(
        alice.beta.threads.create_and_run(assistant_id=model.acme, stream=True, thread=thread)
    )
    assert names_of(events) == ["thread.created", *BEGINNING, *MESSAGE, "thread.run.completed"]
    assert events[0].data.id == events[1].data.thread_id


def test_deltas_add_up_to_what_is_stored(model: ModelServer, alice: OpenAI, world: World) -> None:
    model.upstream.expect(say=SAID * 20, pace=0.005)
    events = streamed(alice, model.acme)
    done = next(event.data for event in events if event.event == "thread.message.completed")
    with world.acme.scope():
        stored = Message.objects.get(pk=done.id)
    assert text_of(events) == stored.text() == done.content[0].text.value == "".join(SAID * 20)


def test_the_first_delta_alone_has_annotations(model: ModelServer, alice: OpenAI) -> None:
    model.upstream.expect(say=SAID, pace=0.05)
    deltas = [e.data for e in streamed(alice, model.acme) if e.event == "thread.message.delta"]
    parts = [delta.delta.content[0] for delta in deltas]
    assert [part.text.annotations for part in parts] == [[], *[None] * (len(parts) - 1)]
    assert {part.index for part in parts} == {0}


def test_objects_are_what_they_were_at_that_moment(model: ModelServer, alice: OpenAI) -> None:
    model.upstream.expect(say=SAID)
    by_name = {event.event: event.data for event in streamed(alice, model.acme)}
    assert by_name["thread.run.created"].status == "queued"
    assert by_name["thread.message.created"].content == []
    assert by_name["thread.run.in_progress"].usage is None
    assert by_name["thread.run.completed"].usage.total_tokens == 18


def test_the_events_are_the_helpers_too(model: ModelServer, alice: OpenAI) -> None:
    model.upstream.expect(say=SAID)
    with alice.beta.threads.runs.stream(thread_id=asked(alice), assistant_id=model.acme) as stream:
        stream.until_done()
        assert stream.get_final_run().status == "completed"
        messages: list[Any] = stream.get_final_messages()
    [message] = messages
    assert message.content[0].text.value == "".join(SAID)


@pytest.fixture
def forecaster(model: ModelServer, world: World) -> str:
    """An assistant with a function that only the program knows."""
    return make_assistant(world.acme, tools=[WEATHER])


ARGUMENTS = '{"city": "Zürich 🏔"}'
CALLING = Answer(calls=(Call(name="get_weather", arguments=ARGUMENTS, pieces=5),))


def test_a_programs_function_stops_the_stream(
    model: ModelServer, alice: OpenAI, forecaster: str
) -> None:
    model.upstream.expect(CALLING)
    events = streamed(alice, forecaster)
    assert names_of(events) == [*BEGINNING, *CALLS, "thread.run.requires_action"]
    [call] = events[-1].data.required_action.submit_tool_outputs.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", ARGUMENTS)


def test_deltas_of_a_call_add_up_to_its_arguments(
    model: ModelServer, alice: OpenAI, forecaster: str
) -> None:
    model.upstream.expect(CALLING)
    with alice.beta.threads.runs.stream(thread_id=asked(alice), assistant_id=forecaster) as stream:
        stream.until_done()
        steps: list[Any] = stream.get_final_run_steps()
    [step] = steps
    [call] = step.step_details.tool_calls
    assert (call.function.arguments, call.function.output) == (ARGUMENTS, None)


def test_outputs_go_on_with_the_stream(model: ModelServer, alice: OpenAI, forecaster: str) -> None:
    model.upstream.expect(CALLING)
    run = streamed(alice, forecaster)[-1].data
    [call] = run.required_action.submit_tool_outputs.tool_calls
    model.upstream.expect(say=("Sunny.",))
    events: list[Any] = list(
        alice.beta.threads.runs.submit_tool_outputs(
            run.id,
            thread_id=run.thread_id,
            tool_outputs=[{"tool_call_id": call.id, "output": "sun"}],
            stream=True,
        )
    )
    resumed = ["thread.run.step.completed", "thread.run.queued", "thread.run.in_progress"]
    assert names_of(events) == [*resumed, *MESSAGE, "thread.run.completed"]
    assert events[0].data.step_details.tool_calls[0].function.output == "sun"
    assert "sun" in str(model.upstream.model_requests()[-1].body)


def test_an_upstream_that_fails_ends_the_stream_with_a_failed_run(
    model: ModelServer, alice: OpenAI
) -> None:
    model.upstream.expect(status=400, body='{"error": {"message": "no"}}')
    events = streamed(alice, model.acme)
    assert names_of(events) == [*BEGINNING, "thread.run.failed"]
    assert events[-1].data.last_error.code == "server_error"


def test_a_cut_answer_is_told_as_incomplete(model: ModelServer, alice: OpenAI) -> None:
    model.upstream.expect(say=SAID, finish="length")
    names = names_of(streamed(alice, model.acme))
    assert names[-3:] == [
        "thread.message.incomplete",
        "thread.run.step.completed",
        "thread.run.incomplete",
    ]


def test_a_step_that_broke_off_is_closed_and_repeated(model: ModelServer, alice: OpenAI) -> None:
    model.upstream.expect(say=SAID, final=False, done=False)
    model.upstream.expect(say=("Again.",))
    events = streamed(alice, model.acme)
    closed = ["thread.message.incomplete", "thread.run.step.failed"]
    assert names_of(events) == [
        *BEGINNING,
        *MESSAGE[:5],
        *closed,
        *MESSAGE,
        "thread.run.completed",
    ]
    assert text_of(events) == "".join(SAID) + "Again."


def test_a_cancelled_run_ends_its_stream(model: ModelServer, alice: OpenAI) -> None:
    model.upstream.expect(say=SAID, stall_after=1)
    names: list[str] = []
    thread = asked(alice)
    for event in alice.beta.threads.runs.create(
        thread_id=thread, assistant_id=model.acme, stream=True
    ):
        names.append(event.event)
        if event.event == "thread.message.delta" and names.count(event.event) == 1:
            run = alice.beta.threads.runs.list(thread).data[0]
            alice.beta.threads.runs.cancel(run.id, thread_id=thread)
    assert names[-4:] == [
        "thread.run.cancelling",
        "thread.message.incomplete",
        "thread.run.step.cancelled",
        "thread.run.cancelled",
    ]


def test_a_refused_request_is_no_stream(model: ModelServer, alice: OpenAI) -> None:
    with pytest.raises(APIError, match="No assistant found"):
        streamed(alice, "asst_000000000000000000000000")


def test_a_refusal_of_the_model_is_a_part_of_its_own(model: ModelServer, alice: OpenAI) -> None:
    model.upstream.expect(refuse=("I ", "won't."))
    events = streamed(alice, model.acme)
    [delta] = [e.data.delta for e in events if e.event == "thread.message.delta"]
    assert (delta.content[0].type, delta.content[0].refusal) == ("refusal", "I won't.")


def test_calls_of_both_kinds_wait_in_one_step(
    model: ModelServer, alice: OpenAI, world: World
) -> None:
    cancel = {"type": "function", "function": {"name": "cancel_order"}}
    both = make_assistant(world.acme, tools=[WEATHER, cancel])
    model.upstream.expect(
        Answer(
            calls=(
                Call(name="get_weather", arguments=ARGUMENTS),
                Call(name="cancel_order", arguments='{"order_number": 1}'),
            )
        )
    )
    run = streamed(alice, both)[-1].data
    ours, theirs = run.required_action.submit_tool_outputs.tool_calls
    assert ours.atrium == {"approval": None}
    assert theirs.atrium["approval"]["arguments"] == {"order_number": 1}
    with world.acme.scope():
        statuses = set(ToolCall.objects.filter(run_id=run.id).values_list("status", flat=True))
    assert statuses == {"awaiting_output", "waiting"}
