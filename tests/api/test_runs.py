"""Runs and their steps over the API: options, limits, words of refusals."""

from __future__ import annotations

from typing import Any

import pytest

from chat.conf import conf
from chat.models import Assistant, Message, Run, RunStep, ToolCall, Usage
from tests.api.conftest import Api, assert_error
from tests.api.published import assert_published
from tests.api.racing import at_once
from tests.world import World

UNKNOWN = "000000000000000000000000"
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "The weather."}}
KEPT = {"type": "function", "function": {**WEATHER["function"], "strict": False}}  # type: ignore[dict-item]


@pytest.fixture
def thread(alice: Api) -> str:
    """A thread with one message, without a run."""
    made = alice.made("threads", messages=[{"role": "user", "content": "Hello"}])
    return str(made["id"])


def begin(api: Api, world: World, thread: str, **options: Any) -> Any:
    options.setdefault("assistant_id", world.acme.assistant.pk)
    return api.post(f"threads/{thread}/runs", options)


def row(world: World, run: dict[str, Any]) -> Run:
    with world.acme.scope():
        found: Run = Run.objects.get(pk=run["id"])
        return found


def test_a_run_is_what_the_document_says(alice: Api, world: World, thread: str) -> None:
    run = assert_published(begin(alice, world, thread).json())
    assert (run["status"], run["thread_id"]) == ("queued", thread)
    assert run["expires_at"] - run["created_at"] == conf.run_seconds
    assert assert_published(alice.get(f"threads/{thread}/runs/{run['id']}").json())["id"]


def test_a_run_is_its_assistants_unless_told_otherwise(
    alice: Api, world: World, thread: str
) -> None:
    with world.acme.scope():
        Assistant.objects.filter(pk=world.acme.assistant.pk).update(
            instructions="Be kind.", temperature=0.25, tools=[KEPT]
        )
    run = begin(alice, world, thread).json()
    assert (run["instructions"], run["temperature"]) == ("Be kind.", 0.25)
    assert run["tools"] == [KEPT]


OPTIONS: dict[str, Any] = {
    "instructions": "Rhyme.",
    "temperature": 0,
    "top_p": 0.5,
    "max_prompt_tokens": 256,
    "max_completion_tokens": 300,
    "truncation_strategy": {"type": "last_messages", "last_messages": 3},
    "parallel_tool_calls": False,
    "response_format": {"type": "json_object"},
    "metadata": {"k": "v"},
    "tools": [KEPT, {"type": "file_search"}],
    "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_of_the_run_wins(alice: Api, world: World, thread: str, name: str) -> None:
    options = {"tools": OPTIONS["tools"], name: OPTIONS[name]}
    run = assert_published(begin(alice, world, thread, **options).json())
    assert run[name] == OPTIONS[name]


def test_more_instructions_come_after_the_others(alice: Api, world: World, thread: str) -> None:
    run = begin(
        alice, world, thread, instructions="Rhyme.", additional_instructions="In German."
    ).json()
    assert run["instructions"] == "Rhyme.\n\nIn German."


def test_a_model_is_named_for_one_run(alice: Api, world: World, thread: str) -> None:
    models = [model["id"] for model in alice.get("models").json()["data"]]
    run = begin(alice, world, thread, model=models[0], reasoning_effort="low")
    assert run.json()["model"] == models[0]
    assert row(world, run.json()).reasoning_effort == "low"


def test_an_assistants_own_model_stays_at_its_server(alice: Api, world: World, thread: str) -> None:
    with world.acme.scope():
        Assistant.objects.update(model="demo-scripted", upstream="demo")
    run = begin(alice, world, thread, model="demo-scripted").json()
    assert row(world, run).upstream == "demo"


def test_an_unknown_model_is_refused(alice: Api, world: World, thread: str) -> None:
    refused = begin(alice, world, thread, model="gpt-99")
    assert_error(refused, 400, param="model", code="model_not_found")


def test_messages_come_along_with_a_run(alice: Api, world: World, thread: str) -> None:
    more = [{"role": "user", "content": "And"}, {"role": "assistant", "content": "So"}]
    run = begin(alice, world, thread, additional_messages=more).json()
    listed = alice.get(f"threads/{thread}/messages", order="asc").json()["data"]
    assert [item["content"][0]["text"]["value"] for item in listed] == ["Hello", "And", "So"]
    assert row(world, run).through_position == 3


def test_nulls_are_as_if_nothing_was_said(alice: Api, world: World, thread: str) -> None:
    nothing = dict.fromkeys([*OPTIONS, "model", "additional_messages", "stream", "busy"])
    assert begin(alice, world, thread, **nothing).status_code == 200


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"max_prompt_tokens": 255}, "max_prompt_tokens"),
        ({"max_completion_tokens": 256.5}, "max_completion_tokens"),
        ({"max_completion_tokens": True}, "max_completion_tokens"),
        ({"max_prompt_tokens": 2**31}, "max_prompt_tokens"),
        ({"truncation_strategy": {"type": "newest"}}, "truncation_strategy.type"),
        ({"truncation_strategy": {"type": "last_messages"}}, "truncation_strategy.last_messages"),
        (
            {"truncation_strategy": {"type": "auto", "last_messages": 3}},
            "truncation_strategy.last_messages",
        ),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
        (
            {"tool_choice": {"type": "function", "function": {"name": "other"}}},
            "tool_choice.function.name",
        ),
        ({"parallel_tool_calls": 1}, "parallel_tool_calls"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"metadata": {"k": 1}}, "metadata.k"),
        ({"instructions": "x" * 256_001}, "instructions"),
        ({"tools": [WEATHER] * 21}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "cancel_order"}}]},
            "tools[0].function.name",
        ),
        ({"additional_messages": [{"role": "user", "content": ""}]}, None),
        ({"additional_messages": [{"role": "system", "content": "x"}]}, None),
        ({"stream": "yes"}, "stream"),
        ({"busy": "wait"}, "busy"),
    ],
)
def test_bad_options_are_refused(
    alice: Api, world: World, thread: str, options: dict[str, Any], param: str | None
) -> None:
    before = alice.get(f"threads/{thread}/messages").json()
    refused = begin(alice, world, thread, **options)
    assert refused.status_code == 400, refused.content
    error = refused.json()["error"]
    assert error["param"] == (param or error["param"])
    assert alice.get(f"threads/{thread}/messages").json() == before
    assert alice.get(f"threads/{thread}/runs").json()["data"] == []


def test_unknown_parameters_are_named(alice: Api, world: World, thread: str) -> None:
    refused = begin(alice, world, thread, file_ids=[])
    message = assert_error(refused, 400, param="file_ids", code="unknown_parameter")
    assert message == "Unknown parameter: 'file_ids'."


def test_an_assistant_has_to_be_named(alice: Api, thread: str) -> None:
    refused = alice.post(f"threads/{thread}/runs", {})
    assert_error(refused, 400, param="assistant_id", code="missing_required_parameter")


@pytest.mark.parametrize(
    ("assistant", "status"), [(f"asst_{UNKNOWN}", 404), ("thread_x", 400), ("", 400)]
)
def test_other_assistants_are_not_found(
    alice: Api, world: World, thread: str, assistant: str, status: int
) -> None:
    refused = begin(alice, world, thread, assistant_id=assistant)
    assert refused.status_code == status
    assert refused.json()["error"]["param"] == "assistant_id"


def test_an_unknown_run_is_named_alike_wherever_it_is_asked_for(alice: Api, thread: str) -> None:
    path = f"threads/{thread}/runs/run_{UNKNOWN}"
    outputs: dict[str, Any] = {"tool_outputs": []}
    asked = [alice.get(path), alice.post(path, {}), alice.post(f"{path}/cancel", {})]
    asked += [alice.get(f"{path}/steps"), alice.post(f"{path}/submit_tool_outputs", outputs)]
    told = {assert_error(answer, 404, param="run_id") for answer in asked}
    assert told == {f"No run found with id 'run_{UNKNOWN}'."}


def test_a_second_run_is_refused_in_the_known_words(alice: Api, world: World, thread: str) -> None:
    run = begin(alice, world, thread).json()["id"]
    message = assert_error(begin(alice, world, thread), 400)
    assert message == f"Thread {thread} already has an active run {run}."


def test_of_racing_runs_one_wins(alice: Api, world: World, thread: str) -> None:
    answers = at_once(4, lambda: begin(alice, world, thread))
    [won] = [answer.json()["id"] for answer in answers if answer.status_code == 200]
    lost = [answer.json()["error"]["message"] for answer in answers if answer.status_code == 400]
    assert lost == [f"Thread {thread} already has an active run {won}."] * 3


def test_a_message_is_refused_meanwhile_in_the_known_words(
    alice: Api, world: World, thread: str
) -> None:
    run = begin(alice, world, thread).json()["id"]
    refused = alice.post(f"threads/{thread}/messages", role="user", content="More")
    message = assert_error(refused, 400)
    assert message == f"Can't add messages to {thread} while a run {run} is active."


def test_a_run_is_cancelled_once(alice: Api, world: World, thread: str) -> None:
    run = begin(alice, world, thread).json()["id"]
    stopped = alice.post(f"threads/{thread}/runs/{run}/cancel", {}).json()
    assert stopped["status"] == "cancelled"
    assert (stopped["expires_at"], stopped["cancelled_at"] > 0) == (None, True)
    again = alice.post(f"threads/{thread}/runs/{run}/cancel", {})
    assert assert_error(again, 400) == "Cannot cancel run with status 'cancelled'."


def test_metadata_is_replaced(alice: Api, world: World, thread: str) -> None:
    run = begin(alice, world, thread, metadata={"a": "1"}).json()["id"]
    changed = alice.made(f"threads/{thread}/runs/{run}", metadata={"b": "2"})
    assert changed["metadata"] == {"b": "2"}
    assert alice.made(f"threads/{thread}/runs/{run}", {})["metadata"] == {"b": "2"}


def test_a_poller_is_told_when_to_ask_again(alice: Api, world: World, thread: str) -> None:
    run = begin(alice, world, thread).json()["id"]
    answer = alice.get(f"threads/{thread}/runs/{run}")
    assert 100 <= int(answer.headers["openai-poll-after-ms"]) <= 1000


def test_runs_are_listed_newest_first(alice: Api, world: World, thread: str) -> None:
    runs = []
    for _run in range(3):
        runs.append(begin(alice, world, thread).json()["id"])
        alice.made(f"threads/{thread}/runs/{runs[-1]}/cancel", {})
    page = assert_published(alice.get(f"threads/{thread}/runs", limit=2).json())
    assert [run["id"] for run in page["data"]] == [runs[2], runs[1]]
    rest = alice.get(f"threads/{thread}/runs", after=page["last_id"]).json()
    assert ([run["id"] for run in rest["data"]], rest["has_more"]) == ([runs[0]], False)


def test_steps_and_their_calls_are_listed(alice: Api, world: World) -> None:
    run = world.acme.runs["alice"]
    path = f"threads/{run.thread_id}/runs/{run.pk}/steps"
    steps = assert_published(alice.get(path, order="asc").json())["data"]
    assert [step["type"] for step in steps] == ["tool_calls", "message_creation"]
    [call] = steps[0]["step_details"]["tool_calls"]
    assert call["function"]["output"] == f"{world.acme.canary}ALICE-OUTPUT"
    assert alice.get(f"{path}/{steps[1]['id']}").json() == steps[1]


def test_what_may_be_included_is_known(alice: Api, world: World) -> None:
    run = world.acme.runs["alice"]
    path = f"threads/{run.thread_id}/runs/{run.pk}/steps"
    known = "step_details.tool_calls[*].file_search.results[*].content"
    assert alice.get(path, **{"include[]": known}).status_code == 200
    assert_error(
        alice.get(path, **{"include[]": "all"}), 400, param="include[]", code="invalid_value"
    )


def test_an_ended_run_has_its_cost(alice: Api, world: World) -> None:
    run = world.acme.runs["alice"]
    found = alice.get(f"threads/{run.thread_id}/runs/{run.pk}").json()
    assert found["atrium"]["cost"] is None
    with world.acme.scope():
        Usage.objects.filter(run=run).update(price="0.000002", currency="USD")
    found = alice.get(f"threads/{run.thread_id}/runs/{run.pk}").json()
    assert found["atrium"]["cost"] == {"amount": "0.00002", "currency": "USD"}


def test_thread_and_run_are_made_together_or_not_at_all(alice: Api, world: World) -> None:
    thread = {"messages": [{"role": "user", "content": "Hi"}], "metadata": {"k": "v"}}
    made = alice.made("threads/runs", assistant_id=world.acme.assistant.pk, thread=thread)
    assert alice.get(f"threads/{made['thread_id']}").json()["metadata"] == {"k": "v"}
    threads = alice.get("threads").json()["data"]
    assert alice.post("threads/runs", assistant_id=f"asst_{UNKNOWN}").status_code == 404
    assert alice.get("threads").json()["data"] == threads


@pytest.fixture
def waiting(alice: Api, world: World, thread: str) -> dict[str, Any]:
    """A run that waits for two outputs: of a program's function, and an approval."""
    run = row(world, begin(alice, world, thread, tools=[WEATHER]).json())
    with world.acme.scope():
        step = RunStep.objects.create(run=run, index=0, type="tool_calls")
        for index, status in enumerate(("awaiting_output", "waiting")):
            ToolCall.objects.create(
                run=run, step=step, round=1, index=index, name="f", arguments="{}", status=status
            )
        Run.objects.filter(pk=run.pk).update(status="requires_action")
    found: dict[str, Any] = alice.get(f"threads/{thread}/runs/{run.pk}").json()
    return found


def submit(api: Api, run: dict[str, Any], outputs: Any) -> Any:
    path = f"threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
    return api.post(path, tool_outputs=outputs)


def calls_of(run: dict[str, Any]) -> list[str]:
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    return [call["id"] for call in calls]


def outputs(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"tool_call_id": call, "output": output} for call, output in pairs]


def test_all_calls_are_answered_at_once(alice: Api, world: World, waiting: dict[str, Any]) -> None:
    assert_published(waiting)
    ours, theirs = calls_of(waiting)
    run = submit(alice, waiting, outputs((ours, "sun"), (theirs, "decline"))).json()
    assert (run["status"], run["required_action"]) == ("queued", None)
    with world.acme.scope():
        statuses = dict(ToolCall.objects.filter(run_id=run["id"]).values_list("pk", "status"))
    assert statuses == {ours: "completed", theirs: "declined"}


def test_a_run_in_line_decides_no_approval(
    alice: Api, world: World, waiting: dict[str, Any]
) -> None:
    path = f"threads/{waiting['thread_id']}/runs"
    body = {"assistant_id": world.acme.assistant.pk}
    assert alice.post(path, **body).status_code == 400
    in_line = alice.post(path, **body, busy="queue").json()
    assert in_line["atrium"]["waiting"] is True
    found = alice.get(f"{path}/{waiting['id']}").json()
    assert (found["status"], found["required_action"]) == (
        "requires_action",
        waiting["required_action"],
    )


def test_outputs_are_taken_once(alice: Api, waiting: dict[str, Any]) -> None:
    ours, theirs = calls_of(waiting)
    answers = outputs((ours, "sun"), (theirs, "decline"))
    assert submit(alice, waiting, answers).status_code == 200
    message = assert_error(submit(alice, waiting, answers), 400, code="run_not_waiting")
    assert message == 'Runs in status "queued" do not accept tool outputs.'


def test_of_racing_answers_one_wins(alice: Api, world: World, waiting: dict[str, Any]) -> None:
    ours, theirs = calls_of(waiting)
    answers = outputs((ours, "sun"), (theirs, "decline"))
    statuses = at_once(4, lambda: submit(alice, waiting, answers).status_code)
    assert sorted(statuses) == [200, 400, 400, 400]


def test_answers_to_other_calls_are_refused(alice: Api, waiting: dict[str, Any]) -> None:
    ours, theirs = calls_of(waiting)
    unknown = f"call_{UNKNOWN}"
    for given in (
        [],
        outputs((ours, "sun")),
        outputs((ours, "sun"), (unknown, "x")),
        outputs((ours, "sun"), (theirs, "decline"), (unknown, "x")),
        outputs((ours, "sun"), (ours, "rain"), (theirs, "decline")),
        outputs((ours, "sun"), (theirs, "yes")),
        outputs((ours, "sun"), ("", "decline")),
    ):
        refused = submit(alice, waiting, given)
        assert_error(refused, 400, param="tool_outputs", code="invalid_value")
    assert alice.get(f"threads/{waiting['thread_id']}/runs/{waiting['id']}").json() == waiting


def test_an_output_may_be_empty_or_long(alice: Api, world: World, waiting: dict[str, Any]) -> None:
    ours, theirs = calls_of(waiting)
    assert submit(alice, waiting, outputs((ours, "x" * 100_000), (theirs, "decline"))).json()
    with world.acme.scope():
        output = ToolCall.objects.get(pk=ours).output
    assert output is not None
    assert len(output.encode()) == conf.tool_output_bytes
    assert "[truncated" in output


def test_nobody_else_answers(adam: Api, gina: Api, waiting: dict[str, Any]) -> None:
    ours, theirs = calls_of(waiting)
    answers = outputs((ours, "sun"), (theirs, "decline"))
    for other in (adam, gina):
        assert_error(submit(other, waiting, answers), 404, param="thread_id")


def test_messages_of_one_moment_keep_their_order(alice: Api, world: World) -> None:
    many = [{"role": "user", "content": f"{number}"} for number in range(30)]
    made = alice.made(
        "threads/runs", assistant_id=world.acme.assistant.pk, thread={"messages": many}
    )
    with world.acme.scope():
        texts = [
            m.text()
            for m in Message.objects.filter(thread_id=made["thread_id"]).order_by("created_at")
        ]
    assert texts == [f"{number}" for number in range(30)]
