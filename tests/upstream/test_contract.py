"""What every adapter does alike, against a real HTTP server that answers as scripted."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from chat.upstream import http
from chat.upstream.base import FunctionCall, FunctionOutput, ModelRequest, UsageReported
from chat.upstream.errors import UpstreamRefused
from tests.upstream.chats import ADAPTERS, WEATHER, Ask, asking, hear, message
from tests.upstream.script import Answer, Call
from tests.upstream.server import PATHS, ScriptedServer

EMOJI = "Grüße \U0001f600 日本"


def test_text_comes_in_order_and_whole(ask: Ask, upstream_server: ScriptedServer) -> None:
    upstream_server.expect(say=("Hel", "lo ", EMOJI), pace=0.01)
    heard = ask()
    assert heard.text == f"Hello {EMOJI}"
    assert heard.reason == "stop"


def test_every_list_has_an_event(ask: Ask, upstream_server: ScriptedServer) -> None:
    upstream_server.expect(say=("a", "b"), noise=True, write_size=3)
    assert all(ask().reads)


def test_what_arrives_together_is_one_list(ask: Ask, upstream_server: ScriptedServer) -> None:
    upstream_server.expect(say=tuple("abcdefghij") * 10, joined=True)
    heard = ask()
    assert heard.text == "abcdefghij" * 10
    assert len(heard.reads) < 50


def test_usage_is_reported_before_the_end(ask: Ask, upstream_server: ScriptedServer) -> None:
    upstream_server.expect(say="x", usage=[11, 7, 3, 2])
    assert ask().events[-2] == UsageReported(11, 7, 3, 2)


def test_missing_usage_is_no_error(ask: Ask, upstream_server: ScriptedServer) -> None:
    upstream_server.expect(say="x", usage=None)
    heard = ask()
    assert (heard.usage, heard.reason) == (None, "stop")


def test_tool_call(ask: Ask, upstream_server: ScriptedServer) -> None:
    upstream_server.expect(calls=[{"name": "get_weather", "arguments": '{"city":"Köln"}'}])
    heard = ask(asking(tools=(WEATHER,)))
    assert heard.calls == [(0, "get_weather", '{"city":"Köln"}')]
    assert heard.reason == "tool_calls"


def test_parallel_calls_keep_their_arguments_apart(
    ask: Ask, upstream_server: ScriptedServer
) -> None:
    calls = [{"name": f"f{n}", "arguments": f'{{"n": {n}}}', "pieces": 5} for n in range(3)]
    upstream_server.expect(calls=calls)
    assert ask(asking(tools=(WEATHER,))).calls == [(n, f"f{n}", f'{{"n": {n}}}') for n in range(3)]


@pytest.mark.parametrize("server_id", ["", "call_same"])
def test_repeated_or_empty_call_ids(
    ask: Ask, upstream_server: ScriptedServer, server_id: str
) -> None:
    calls = [{"name": "f", "arguments": f'{{"n":{n}}}', "id": server_id} for n in range(2)]
    upstream_server.expect(calls=calls)
    heard = ask()
    assert heard.calls == [(0, "f", '{"n":0}'), (1, "f", '{"n":1}')]
    assert heard.server_ids == [server_id, server_id]


# Gemini speaks chat completions only.
@pytest.mark.parametrize(
    ("kind", "dialect"),
    [
        ("chat", "gemini"),
        *itertools.product(("responses", "chat"), ("llamacpp", "ollama")),
    ],
)
def test_calls_in_the_dialects(ask: Ask, upstream_server: ScriptedServer, dialect: Any) -> None:
    upstream_server.dialect = dialect
    upstream_server.expect(
        say="Let me see.",
        calls=[{"name": "f", "arguments": '{"n":0}'}, {"name": "f", "arguments": '{"n":1}'}],
    )
    heard = ask(asking(tools=(WEATHER,)))
    assert heard.calls == [(0, "f", '{"n":0}'), (1, "f", '{"n":1}')]
    assert (heard.text, heard.reason) == ("Let me see.", "tool_calls")


def test_malformed_arguments_pass_unchanged(ask: Ask, upstream_server: ScriptedServer) -> None:
    upstream_server.expect(calls=[{"name": "f", "arguments": '{"n": 1,,'}])
    assert ask().calls == [(0, "f", '{"n": 1,,')]


def test_call_without_arguments(ask: Ask, upstream_server: ScriptedServer) -> None:
    upstream_server.expect(calls=[{"name": "f", "arguments": ""}])
    heard = ask()
    assert (heard.calls, heard.reason) == ([(0, "f", "")], "tool_calls")


def test_refusal(ask: Ask, upstream_server: ScriptedServer) -> None:
    upstream_server.expect(refuse=("I ", "cannot."))
    heard = ask()
    assert (heard.refusal, heard.text, heard.reason) == ("I cannot.", "", "stop")


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_cut_answers_say_why(ask: Ask, upstream_server: ScriptedServer, reason: str) -> None:
    upstream_server.expect(say="Half a", finish=reason)
    assert ask().reason == reason


def test_answer_without_text(ask: Ask, upstream_server: ScriptedServer) -> None:
    upstream_server.expect()
    heard = ask()
    assert (heard.text, heard.reason) == ("", "stop")


@pytest.mark.parametrize("size", [1, 2, 7])
def test_cuts_inside_characters_and_json(
    ask: Ask, upstream_server: ScriptedServer, size: int
) -> None:
    upstream_server.expect(say=(EMOJI, EMOJI), write_size=size)
    assert ask().text == EMOJI * 2


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_other_line_ends(ask: Ask, upstream_server: ScriptedServer, newline: str) -> None:
    upstream_server.expect(say=("a", "b"), newline=newline, write_size=5)
    assert ask().text == "ab"


def test_unknown_events_and_comments_are_ignored(ask: Ask, upstream_server: ScriptedServer) -> None:
    upstream_server.expect(say=("a", "b"), noise=True)
    heard = ask()
    assert (heard.text, heard.reason) == ("ab", "stop")


def test_doubled_events_finish_once(ask: Ask, upstream_server: ScriptedServer) -> None:
    upstream_server.expect(say="a", calls=[{"name": "f"}], doubled=True)
    heard = ask()
    assert (heard.text, len(heard.calls), heard.reason) == ("a", 1, "tool_calls")


def test_unstreamed_answer(ask: Ask, upstream_server: ScriptedServer) -> None:
    upstream_server.expect(
        say="All at once", calls=[{"name": "f", "arguments": '{"n":1}'}], unstreamed=True
    )
    heard = ask()
    assert (heard.text, heard.calls) == ("All at once", [(0, "f", '{"n":1}')])


def test_nul_in_text_is_replaced(ask: Ask, upstream_server: ScriptedServer) -> None:
    upstream_server.expect(say="a\x00b")
    assert ask().text == "a\ufffdb"


def test_answer_cut_at_our_limit_is_not_whole(ask: Ask, upstream_server: ScriptedServer) -> None:
    upstream_server.dialect = "llamacpp"
    upstream_server.expect(say="Half a", finish="length", usage=[5, 16, 0, 0])
    assert ask(asking(max_output_tokens=16)).reason == "length"


def test_the_connection_is_used_again(
    kind: str, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "DRAIN_SECONDS", 60)

    async def twice() -> None:
        upstream = ADAPTERS[kind]("test", base_url=upstream_server.base_url)
        for _ in range(3):
            upstream_server.expect(say="x")
            await hear(upstream, asking())
        await upstream.aclose()

    asyncio.run(twice())
    assert len({r.peer for r in upstream_server.model_requests()}) == 1


def test_a_whole_tool_round_travels(ask: Ask, kind: str, upstream_server: ScriptedServer) -> None:
    upstream_server.expect(say="It is sunny.")
    ask(
        ModelRequest(
            model="test-model",
            instructions="Be brief.",
            items=(
                message("Hi"),
                message("Hello.", "assistant"),
                message("Weather?"),
                FunctionCall(call_id="call_1", name="get_weather", arguments='{"city":"Rome"}'),
                FunctionOutput(call_id="call_1", output="sunny"),
            ),
            tools=(WEATHER,),
            tool_choice={"type": "function", "function": {"name": "get_weather"}},
            parallel_tool_calls=False,
            temperature=0.5,
            max_output_tokens=99,
        )
    )
    body = upstream_server.requests[0].body
    assert body == (SENT_RESPONSES if kind == "responses" else SENT_CHAT)


SENT_RESPONSES = {
    "model": "test-model",
    "instructions": "Be brief.",
    "stream": True,
    "store": False,
    "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hello.", "annotations": []}],
        },
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "Weather?"}],
        },
        {
            "type": "function_call",
            "call_id": "call_1",
            "name": "get_weather",
            "arguments": '{"city":"Rome"}',
        },
        {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
    ],
    "tools": [
        {
            "type": "function",
            "name": "get_weather",
            "description": "The weather of a city.",
            "parameters": WEATHER.parameters,
            "strict": True,
        }
    ],
    "tool_choice": {"type": "function", "name": "get_weather"},
    "parallel_tool_calls": False,
    "temperature": 0.5,
    "max_output_tokens": 99,
}
SENT_CHAT = {
    "model": "test-model",
    "stream": True,
    "stream_options": {"include_usage": True},
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city":"Rome"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "description": "The weather of a city.",
                "parameters": WEATHER.parameters,
                "strict": True,
            },
        }
    ],
    "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
    "parallel_tool_calls": False,
    "temperature": 0.5,
    "max_tokens": 99,
}


def test_models_are_listed(kind: str, upstream_server: ScriptedServer) -> None:
    async def models() -> list[str]:
        upstream = ADAPTERS[kind]("test", base_url=upstream_server.base_url)
        try:
            return await upstream.list_models()
        finally:
            await upstream.aclose()

    assert asyncio.run(models()) == ["test-model", "test-model-2"]


@pytest.mark.parametrize(
    ("dialect", "found"),
    [
        ("openai", (True, True, True, True)),
        ("llamacpp", (True, True, True, False)),
        ("gemini", (False, True, True, False)),
    ],
)
def test_probe(
    kind: str, upstream_server: ScriptedServer, dialect: Any, found: tuple[bool, ...]
) -> None:
    upstream_server.dialect = dialect
    upstream_server.fallback = Answer(calls=(Call(name="atrium_probe"),))

    async def probe() -> tuple[bool, ...]:
        upstream = ADAPTERS[kind]("test", base_url=upstream_server.base_url)
        try:
            seen = await upstream.probe()
        finally:
            await upstream.aclose()
        return seen.responses, seen.chat_completions, seen.tools, seen.conversations

    assert asyncio.run(probe()) == found


def test_the_probe_asks_for_short_answers(kind: str, upstream_server: ScriptedServer) -> None:
    upstream_server.fallback = Answer(calls=(Call(name="atrium_probe"),))

    async def probe() -> None:
        upstream = ADAPTERS[kind]("test", base_url=upstream_server.base_url)
        try:
            await upstream.probe()
        finally:
            await upstream.aclose()

    asyncio.run(probe())
    asked = [request.body for request in upstream_server.requests if request.path in PATHS]
    assert len(asked) == 2
    assert all({"max_output_tokens", "max_tokens"} & body.keys() for body in asked)


def test_the_test_upstream_tells_of_unexpected_requests(
    ask: Ask, upstream_server: ScriptedServer
) -> None:
    heard = ask(asking("Nobody expects this"))
    assert type(heard.error) is UpstreamRefused
    assert "Nobody expects this" in upstream_server.problems.pop()


def test_the_test_upstream_tells_of_unfetched_answers(upstream_server: ScriptedServer) -> None:
    upstream_server.expect(say="x")
    with pytest.raises(AssertionError, match="did not come"):
        upstream_server.assert_done()
    upstream_server.reset()
