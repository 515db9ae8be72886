"""What every adapter does alike, against a real HTTP server that answers as scripted."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from chat.upstream.base import FunctionCall, FunctionOutput, ModelRequest, UsageReported
from chat.upstream.errors import (
    ContentRefused,
    ContextTooLong,
    StreamBroken,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from chat.upstream.http import HttpUpstream
from tests.upstream.chats import ADAPTERS, KEY, WEATHER, Ask, asker, asking, hear, message
from tests.upstream.script import Answer, Call
from tests.upstream.server import ScriptedServer

EMOJI = "Grüße \U0001f600 日本"


@pytest.fixture(params=sorted(ADAPTERS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ask(kind: str, upstream_server: ScriptedServer) -> Ask:
    def make(**options: Any) -> HttpUpstream:
        given = {"base_url": upstream_server.base_url, "api_key": KEY} | options
        return ADAPTERS[kind]("test", **given)

    return asker(make)


def test_text_comes_in_order_and_whole(ask: Ask, upstream_server: ScriptedServer) -> None:
    upstream_server.expect(say=("Hel", "lo ", EMOJI), pace=0.01)
    heard = ask()
    assert heard.text == f"Hello {EMOJI}"
    assert heard.reason == "stop"


def test_every_list_has_an_event(ask: Ask, upstream_server: ScriptedServer) -> None:
    upstream_server.expect(say=("a", "b"), noise=True, write_size=3)
    assert all(ask().reads)


def test_what_arrives_together_is_one_list(ask: Ask, upstream_server: ScriptedServer) -> None:
    upstream_server.expect(say=tuple("abcdefghij") * 10)
    assert len(ask().reads) < 50


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


@pytest.mark.parametrize("dialect", ["llamacpp", "ollama", "gemini"])
def test_calls_in_the_dialects(
    ask: Ask, kind: str, upstream_server: ScriptedServer, dialect: Any
) -> None:
    if dialect == "gemini" and kind == "responses":
        pytest.skip("Gemini speaks chat completions only.")
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


SECRET_ERROR = '{"error": {"message": "Bad key sk-test-0123456789abcdef", "code": "bad"}}'
OUTER: list[tuple[str, dict[str, Any], type[UpstreamError], str]] = [
    ("400", {"status": 400, "body": SECRET_ERROR}, UpstreamRefused, "refused"),
    ("401", {"status": 401, "body": SECRET_ERROR}, UpstreamRefused, "authentication_failed"),
    ("403", {"status": 403, "body": SECRET_ERROR}, UpstreamRefused, "authentication_failed"),
    ("404", {"status": 404, "body": SECRET_ERROR}, UpstreamRefused, "not_found"),
    ("redirect", {"status": 302, "headers": {"Location": "/x"}}, UpstreamRefused, "refused"),
    ("413", {"status": 413}, ContextTooLong, "context_too_long"),
    (
        "context",
        {"status": 400, "body": '{"error": {"code": "context_length_exceeded", "message": ""}}'},
        ContextTooLong,
        "context_too_long",
    ),
    (
        "context-llamacpp",
        {
            "status": 400,
            "body": '{"error": {"code": 400, "message": "request (9 tokens) exceeds the available '
            'context size (4 tokens)", "type": "exceed_context_size_error"}}',
        },
        ContextTooLong,
        "context_too_long",
    ),
    (
        "filter",
        {"status": 400, "body": '{"error": {"code": "content_filter", "message": "No."}}'},
        ContentRefused,
        "content_refused",
    ),
    ("429", {"status": 429, "body": "{}"}, UpstreamRateLimited, "rate_limited"),
    (
        "quota",
        {"status": 429, "body": '{"error": {"code": "insufficient_quota", "message": ""}}'},
        UpstreamRateLimited,
        "quota_exceeded",
    ),
    ("500", {"status": 500, "body": "{}"}, UpstreamUnavailable, "unavailable"),
    (
        "502-html",
        {"status": 502, "body": "<html>Bad gateway</html>", "content_type": "text/html"},
        UpstreamUnavailable,
        "unavailable",
    ),
    ("503", {"status": 503}, UpstreamUnavailable, "unavailable"),
    ("reset", {"reset": True}, UpstreamUnavailable, "unavailable"),
    ("stall", {"stall": True}, UpstreamTimeout, "timeout"),
    (
        "html-200",
        {"body": "<html>Log in</html>", "content_type": "text/html"},
        StreamBroken,
        "stream_broken",
    ),
    ("empty-200", {"malformed": ""}, StreamBroken, "stream_broken"),
    ("not-sse", {"malformed": "hello\n\n"}, StreamBroken, "stream_broken"),
    ("not-utf-8", {"malformed": 'data: {"a": "\xff"}\n\n'}, StreamBroken, "stream_broken"),
    ("not-json", {"broken_after": 0, "say": "x"}, StreamBroken, "stream_broken"),
    ("no-answer", {"final": False}, StreamBroken, "stream_broken"),
    ("error-event", {"error": {"code": "x", "message": "m"}}, UpstreamUnavailable, "unavailable"),
    (
        "error-rate",
        {"error": {"code": "rate_limit_exceeded", "message": "m"}},
        UpstreamRateLimited,
        "rate_limited",
    ),
    (
        "error-context",
        {"error": {"code": "context_length_exceeded", "message": "m"}},
        ContextTooLong,
        "context_too_long",
    ),
    (
        "error-refused",
        {"error": {"code": "invalid_prompt", "message": "m"}},
        UpstreamRefused,
        "refused",
    ),
    (
        "sse-error-name",
        {"malformed": 'event: error\ndata: {"message": "m"}\n\n'},
        UpstreamUnavailable,
        "unavailable",
    ),
]


@pytest.mark.parametrize(
    ("fields", "error", "code"), [case[1:] for case in OUTER], ids=[case[0] for case in OUTER]
)
def test_failure_before_any_content(
    ask: Ask,
    upstream_server: ScriptedServer,
    fields: dict[str, Any],
    error: type[UpstreamError],
    code: str,
) -> None:
    upstream_server.expect(**fields)
    heard = ask(connect_timeout=0.5, first_byte_timeout=0.3)
    assert heard.error is not None
    assert (type(heard.error), heard.error.code) == (error, code)
    assert not heard.error.after_first_content
    assert KEY not in heard.error.message_for_operators


INNER: list[tuple[str, dict[str, Any], type[UpstreamError]]] = [
    ("no-final", {"final": False}, StreamBroken),
    ("not-json", {"broken_after": 2}, StreamBroken),
    ("reset", {"reset_after": 1200}, StreamBroken),
    ("clean-end", {"end_after": 1200}, StreamBroken),
    ("stall", {"stall_after": 2}, UpstreamTimeout),
    ("error-event", {"error": {"code": "server_error", "message": "m"}}, UpstreamUnavailable),
]


@pytest.mark.parametrize(
    ("fields", "error"), [case[1:] for case in INNER], ids=[case[0] for case in INNER]
)
def test_failure_after_the_first_content(
    ask: Ask, upstream_server: ScriptedServer, fields: dict[str, Any], error: type[UpstreamError]
) -> None:
    upstream_server.expect(say=("He", "llo", " you") * 5, **fields)
    heard = ask(idle_timeout=0.3)
    assert type(heard.error) is error
    assert heard.text.startswith("He")
    assert heard.finished is None
    assert heard.error is not None
    assert heard.error.after_first_content


def test_retry_after_is_passed_on(ask: Ask, upstream_server: ScriptedServer) -> None:
    upstream_server.expect(status=429, headers={"Retry-After": "7"})
    heard = ask()
    assert heard.error is not None
    assert (heard.error.retry_after, heard.error.retryable) == (7.0, True)


def test_nobody_listens(kind: str) -> None:
    heard = asker(lambda: ADAPTERS[kind]("test", base_url="http://127.0.0.1:9/v1"))()
    assert type(heard.error) is UpstreamUnavailable


def test_the_client_does_not_retry_by_itself(ask: Ask, upstream_server: ScriptedServer) -> None:
    upstream_server.expect(status=503, headers={"x-should-retry": "true"})
    ask()
    assert len(upstream_server.model_requests()) == 1


def leave_early(kind: str, server: ScriptedServer, how: str) -> None:
    async def leave() -> None:
        upstream = ADAPTERS[kind]("test", base_url=server.base_url)
        stream = upstream.stream(asking())
        if how == "close":
            async with aclosing(stream):
                await anext(stream)
        else:
            task = asyncio.create_task(hear(upstream, asking()))
            await asyncio.to_thread(server.wait_for_requests)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        left = server.model_requests()[0].left
        assert await asyncio.to_thread(left.wait, 5)
        await upstream.aclose()

    asyncio.run(leave())


def test_closing_the_stream_closes_the_connection(
    kind: str, upstream_server: ScriptedServer
) -> None:
    upstream_server.expect(say=("a", "b"), stall_after=1)
    leave_early(kind, upstream_server, "close")


@pytest.mark.parametrize("fields", [{"stall": True}, {"say": ("a", "b"), "stall_after": 1}])
def test_cancelling_closes_the_connection(
    kind: str, upstream_server: ScriptedServer, fields: dict[str, Any]
) -> None:
    upstream_server.expect(**fields)
    leave_early(kind, upstream_server, "cancel")


def test_the_connection_is_used_again(kind: str, upstream_server: ScriptedServer) -> None:
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
