"""Searches and citations as programs see them: steps, their contents, streams and annotations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from openai import OpenAI

from chat.models import Message, Run, RunStep, ToolCall
from tests.api.conftest import Api
from tests.api.published import assert_published
from tests.api.streaming import DEPRECATED, client_of, names_of, raw_events, text_of
from tests.chat.knowing import POLICY, add_file, make_reader, make_store, searching
from tests.model_server import ModelServer
from tests.upstream.script import Answer
from tests.world import Company, World

pytestmark = pytest.mark.filterwarnings(DEPRECATED)

CONTENT: Any = "step_details.tool_calls[*].file_search.results[*].content"
SAID = Answer(say=("You have 30 days", " 🙂{mark 1}", "."))


@pytest.fixture
def reader(model: ModelServer, world: World) -> str:
    """An assistant that has the returns policy."""
    store = make_store(world.acme)
    add_file(world.acme, store, POLICY)
    ranking = {"ranker": "auto", "score_threshold": 0.1}
    tool = {"type": "file_search", "file_search": {"ranking_options": ranking}}
    return make_reader(world.acme, store, tools=[tool], upstream="")


@pytest.fixture
def client(model: ModelServer, world: World) -> Iterator[OpenAI]:
    """The official client as alice."""
    with client_of(model, world.acme, "alice") as made:
        yield made


def begun(model: ModelServer, client: OpenAI) -> str:
    """Make a thread that asks, and have the model search and answer; return the thread's id."""
    model.upstream.expect(searching())
    model.upstream.expect(SAID)
    messages: Any = [{"role": "user", "content": "May I return it?"}]
    return str(client.beta.threads.create(messages=messages).id)


def streamed(model: ModelServer, client: OpenAI, reader: str, **options: Any) -> list[Any]:
    """Return the events of a run that searches and cites."""
    thread = begun(model, client)
    stream = client.beta.threads.runs.create(thread, assistant_id=reader, stream=True, **options)
    return list(stream)


def data_of(events: list[Any], name: str) -> list[Any]:
    return [event.data for event in events if event.event == name]


def stored(company: Company) -> dict[str, Any]:
    """Return the text part of the newest message."""
    with company.scope():
        content = Message.objects.latest("created_at").content
    return dict(content[0]["text"])


def test_a_search_is_streamed_as_a_step_of_its_type(
    model: ModelServer, client: OpenAI, reader: str
) -> None:
    events = streamed(model, client, reader)
    assert names_of(events)[3:7] == [
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.run.step.delta",
        "thread.run.step.completed",
    ]
    [delta] = data_of(events, "thread.run.step.delta")
    [call] = delta.delta.step_details.tool_calls
    assert (call.index, call.type, call.file_search) == (0, "file_search", {})
    [done] = data_of(events, "thread.run.step.completed")[0].step_details.tool_calls
    [result] = done.file_search.results
    assert (result.file_name, result.content) == ("Returns policy.md", None)
    assert done.file_search.ranking_options.score_threshold == 0.1


def test_the_content_of_results_is_streamed_when_it_is_asked_for(
    model: ModelServer, client: OpenAI, reader: str
) -> None:
    events = streamed(model, client, reader, include=[CONTENT])
    [done] = data_of(events, "thread.run.step.completed")[0].step_details.tool_calls
    [part] = done.file_search.results[0].content
    assert "within 30 days" in part.text
    assert POLICY.find(part.text) >= 0


def test_a_resumed_stream_has_the_content_when_it_is_asked_for(
    model: ModelServer, client: OpenAI, reader: str, alice: Api
) -> None:
    events = streamed(model, client, reader, include=[CONTENT])
    run = data_of(events, "thread.run.created")[0]
    path = f"threads/{run.thread_id}/runs/{run.id}/events"
    for query, there in ((f"?{urlencode({'include[]': CONTENT})}", True), ("", False)):
        told = [
            e.data for e in raw_events(model, alice, path + query) if "step.completed" in e.name
        ]
        [result] = told[0]["step_details"]["tool_calls"][0]["file_search"]["results"]
        assert ("content" in result) is there


def test_annotations_come_once_with_the_last_delta(
    model: ModelServer, client: OpenAI, reader: str, world: World
) -> None:
    events = streamed(model, client, reader)
    parts = [d.delta.content[0].text for d in data_of(events, "thread.message.delta")]
    [annotation] = parts[-1].annotations
    kept = stored(world.acme)
    assert not any(part.annotations for part in parts[:-1])
    assert annotation.to_dict() == {"index": 0, **kept["annotations"][0]}
    assert text_of(events) == kept["value"]


def test_the_helper_gathers_what_is_stored(
    model: ModelServer, client: OpenAI, reader: str, world: World
) -> None:
    thread = begun(model, client)
    with client.beta.threads.runs.stream(thread_id=thread, assistant_id=reader) as stream:
        [message] = stream.get_final_messages()
    kept = stored(world.acme)
    assert message.content[0].to_dict()["text"] == kept
    [citation] = kept["annotations"]
    quoted = kept["value"][citation["start_index"] : citation["end_index"]]
    assert quoted == citation["text"]
    assert kept["value"].index("🙂") + 1 == citation["start_index"]


def test_a_stream_is_resumed_at_its_annotations(
    model: ModelServer, client: OpenAI, reader: str, world: World, alice: Api
) -> None:
    run = data_of(streamed(model, client, reader), "thread.run.created")[0]
    path = f"threads/{run.thread_id}/runs/{run.id}/events"
    whole = list(raw_events(model, alice, path))
    for place in range(len(whole) - 1):
        rest = list(raw_events(model, alice, path, after=whole[place].id))
        assert [(e.id, e.data) for e in rest] == [(e.id, e.data) for e in whole[place + 1 :]]


def test_a_forced_search_is_forced_once(model: ModelServer, client: OpenAI, reader: str) -> None:
    streamed(model, client, reader, tool_choice={"type": "file_search"})
    first, second = [request.body for request in model.upstream.model_requests()]
    assert first["tool_choice"] == {"type": "function", "name": "file_search"}
    assert [tool["name"] for tool in first["tools"]] == ["file_search"]
    assert second.get("tool_choice", "auto") == "auto"


def steps_of(api: Api, run: Run, **query: Any) -> list[dict[str, Any]]:
    path = f"threads/{run.thread_id}/runs/{run.pk}/steps"
    found: list[dict[str, Any]] = assert_published(api.get(path, **query).json())["data"]
    for step in found:
        assert api.get(f"{path}/{step['id']}", **query).json() == step
    return found


DETAILS: dict[str, Any] = {
    "file_search": {
        "query": "days",
        "results": [
            {
                "mark": "【ab3d:1†a.md】",
                "file_id": "file-a",
                "file_name": "a.md",
                "score": 0.5,
                "store_file": 7,
                "start": 10,
                "end": 14,
                "page": 2,
                "text": "text",
            }
        ],
    },
    "code_interpreter": {
        "input": "print(1)",
        "logs": "1\n",
        "error": None,
        "images": ["file-picture"],
        "files": [{"file_id": "file-b", "name": "b.csv", "bytes": 3}],
    },
}


def kept_call(world: World, name: str, **fields: Any) -> Run:
    """Let the call of alice's run have been one of this tool."""
    run = world.acme.runs["alice"]
    made = {"name": name, "version": "1", "details": DETAILS[name], **fields}
    with world.acme.scope():
        ToolCall.objects.filter(run=run).update(**made)
        RunStep.objects.filter(run=run, type="message_creation").delete()
    return run


@pytest.mark.parametrize("included", [False, True])
def test_a_search_is_listed_with_its_results(alice: Api, world: World, included: bool) -> None:
    run = kept_call(world, "file_search")
    [step] = steps_of(alice, run, **({"include[]": CONTENT} if included else {}))
    [call] = step["step_details"]["tool_calls"]
    content = {"content": [{"type": "text", "text": "text"}]} if included else {}
    assert call["file_search"] == {
        "ranking_options": {"ranker": "default_2024_08_21", "score_threshold": 0.0},
        "results": [{"file_id": "file-a", "file_name": "a.md", "score": 0.5, **content}],
    }
    [passage] = call["atrium"]["passages"]
    assert (passage["mark"], passage["page"], passage["store_file"]) == ("【ab3d:1†a.md】", 2, 7)
    assert "text" not in passage


def test_code_is_listed_with_what_it_wrote(alice: Api, world: World) -> None:
    run = kept_call(world, "code_interpreter")
    [step] = steps_of(alice, run)
    [call] = step["step_details"]["tool_calls"]
    assert call["code_interpreter"] == {
        "input": "print(1)",
        "outputs": [
            {"type": "logs", "logs": "1\n"},
            {"type": "image", "image": {"file_id": "file-picture"}},
        ],
    }
    assert call["atrium"]["files"] == DETAILS["code_interpreter"]["files"]


@pytest.mark.parametrize(
    ("name", "arguments", "body"),
    [
        ("file_search", '{"query": "x"}', {}),
        ("code_interpreter", '{"code": "1+1"}', {"input": "1+1", "outputs": []}),
        ("code_interpreter", "{broken", {"input": "", "outputs": []}),
    ],
)
def test_a_call_that_came_to_nothing_is_shown_as_well(
    alice: Api, world: World, name: str, arguments: str, body: dict[str, Any]
) -> None:
    run = kept_call(
        world, name, details=None, arguments=arguments, status="failed", error_code="timeout"
    )
    [step] = steps_of(alice, run)
    [call] = step["step_details"]["tool_calls"]
    assert (call["type"], call[name], call["atrium"]["error"]) == (name, body, "timeout")


def test_a_programs_own_function_of_that_name_is_a_function(alice: Api, world: World) -> None:
    run = kept_call(world, "file_search", version="", details=None)
    [step] = steps_of(alice, run)
    assert step["step_details"]["tool_calls"][0]["type"] == "function"


def test_a_run_may_bring_a_function_of_a_built_in_name(alice: Api, world: World) -> None:
    function = {"name": "file_search", "parameters": {"type": "object"}, "strict": False}
    tool = {"type": "function", "function": function}
    options = {"assistant_id": world.acme.assistant.pk, "tools": [tool]}
    assert alice.made("threads/runs", options)["tools"] == [tool]


def test_code_is_streamed_with_its_outputs_as_deltas(
    model: ModelServer, alice: Api, world: World
) -> None:
    run = kept_call(world, "code_interpreter")
    events = list(raw_events(model, alice, f"threads/{run.thread_id}/runs/{run.pk}/events"))
    deltas = [event.data["delta"] for event in events if event.name == "thread.run.step.delta"]
    calls = [delta["step_details"]["tool_calls"][0]["code_interpreter"] for delta in deltas]
    assert calls == [
        {"input": "print(1)", "outputs": []},
        {
            "outputs": [
                {"index": 0, "type": "logs", "logs": "1\n"},
                {"index": 1, "type": "image", "image": {"file_id": "file-picture"}},
            ]
        },
    ]


def test_a_picture_and_a_file_come_in_deltas_of_their_own(
    model: ModelServer, alice: Api, world: World
) -> None:
    run = world.acme.runs["alice"]
    link = {
        "type": "file_path",
        "text": "sandbox:/mnt/data/b.csv",
        "start_index": 0,
        "end_index": 23,
        "file_path": {"file_id": "file-b"},
    }
    picture = {"type": "image_file", "image_file": {"file_id": "file-a", "detail": "auto"}}
    text = {"type": "text", "text": {"value": link["text"], "annotations": [link]}}
    with world.acme.scope():
        Message.objects.filter(run_ref=run.pk).update(content=[picture, text])
    assert_published(alice.get(f"threads/{run.thread_id}/messages").json())
    events = list(raw_events(model, alice, f"threads/{run.thread_id}/runs/{run.pk}/events"))
    deltas = [e.data["delta"]["content"] for e in events if e.name == "thread.message.delta"]
    assert deltas == [
        [{"index": 0, **picture}],
        [{"index": 1, "type": "text", "text": {"value": link["text"], "annotations": []}}],
        [
            {
                "index": 1,
                "type": "text",
                "text": {"value": "", "annotations": [{"index": 0, **link}]},
            }
        ],
    ]
    for place in range(len(events) - 1):
        path = f"threads/{run.thread_id}/runs/{run.pk}/events"
        rest = list(raw_events(model, alice, path, after=events[place].id))
        assert [e.id for e in rest] == [e.id for e in events[place + 1 :]]


def test_a_repeated_request_streams_the_content_again(
    model: ModelServer, client: OpenAI, reader: str
) -> None:
    thread = begun(model, client)
    again: Any = {"assistant_id": reader, "stream": True, "include": [CONTENT]}
    again["extra_headers"] = {"Idempotency-Key": "search-1"}
    for _twice in range(2):
        events = list(client.beta.threads.runs.create(thread, **again))
        [done] = data_of(events, "thread.run.step.completed")[0].step_details.tool_calls
        assert "within 30 days" in done.file_search.results[0].content[0].text
