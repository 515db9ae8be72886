"""What can go wrong at a model server, and that every adapter tells it alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from chat.upstream.errors import (
    ContentRefused,
    ContextTooLong,
    ImagesRefused,
    StreamBroken,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from tests.clock import pass_time, until
from tests.upstream.chats import ADAPTERS, KEY, Ask, Heard, asker, asking, hear
from tests.upstream.script import Answer
from tests.upstream.server import ScriptedServer

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
    (
        "images-500",
        {"status": 500, "body": '{"error": {"message": "image input is not supported - hint"}}'},
        ImagesRefused,
        "images_refused",
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
    heard = ask()
    assert heard.error is not None
    assert (type(heard.error), heard.error.code) == (error, code)
    assert not heard.error.after_first_content
    assert KEY not in heard.error.message_for_operators


INNER: list[tuple[str, dict[str, Any], type[UpstreamError]]] = [
    ("no-final", {"final": False}, StreamBroken),
    ("not-json", {"broken_after": 2}, StreamBroken),
    ("clean-end", {"end_after": 1200}, StreamBroken),
    ("error-event", {"error": {"code": "server_error", "message": "m"}}, UpstreamUnavailable),
]


@pytest.mark.parametrize(
    ("fields", "error"), [case[1:] for case in INNER], ids=[case[0] for case in INNER]
)
def test_failure_after_the_first_content(
    ask: Ask, upstream_server: ScriptedServer, fields: dict[str, Any], error: type[UpstreamError]
) -> None:
    upstream_server.expect(say=("He", "llo", " you") * 5, **fields)
    heard = ask()
    assert type(heard.error) is error
    assert heard.text.startswith("He")
    assert heard.finished is None
    assert heard.error is not None
    assert heard.error.after_first_content


async def asked(
    kind: str, server: ScriptedServer, answer: Answer, *, said: str, then: Callable[[], None]
) -> Heard:
    """Ask for this answer, and do something once that much of it was heard."""
    server.expect(answer)
    upstream, heard = ADAPTERS[kind]("test", base_url=server.base_url), Heard()
    task = asyncio.create_task(hear(upstream, asking(), heard=heard))
    await asyncio.to_thread(server.wait_for_requests)
    await until(lambda: task.done() or heard.text == said)
    then()
    await task
    await upstream.aclose()
    return heard


@pytest.mark.parametrize(
    ("answer", "said"),
    [(Answer(stall=True), ""), (Answer(say=("He", "llo", " you"), stall_after=2), "Hello")],
    ids=["before the first byte", "in the stream"],
)
async def test_silence(
    kind: str, upstream_server: ScriptedServer, answer: Answer, said: str
) -> None:
    heard = await asked(kind, upstream_server, answer, said=said, then=lambda: pass_time(100))
    assert isinstance(heard.error, UpstreamTimeout)
    assert heard.error.code == "timeout"
    assert (heard.text, heard.error.after_first_content) == (said, bool(said))


async def test_a_reset_in_the_stream(kind: str, upstream_server: ScriptedServer) -> None:
    def read() -> None:
        upstream_server.model_requests()[0].read.set()

    answer = Answer(say=("Hello",), final=False, reset_after=10_000)
    heard = await asked(kind, upstream_server, answer, said="Hello", then=read)
    assert isinstance(heard.error, StreamBroken)
    assert (heard.text, heard.error.after_first_content) == ("Hello", True)


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
        assert await asyncio.to_thread(server.was_left)
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
