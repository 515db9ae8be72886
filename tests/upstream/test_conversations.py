"""Conversations that the server keeps: only new items travel, a lost one is told apart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from chat.upstream.base import KeepsConversations
from chat.upstream.chat_completions import ChatCompletionsUpstream
from chat.upstream.errors import ConversationLost, UpstreamRefused
from chat.upstream.responses import ResponsesUpstream
from tests.upstream.chats import asking, hear
from tests.upstream.server import ScriptedServer


def run(server: ScriptedServer, steps: Callable[[ResponsesUpstream], Awaitable[None]]) -> None:
    async def all_steps() -> None:
        upstream = ResponsesUpstream("test", base_url=server.base_url)
        await steps(upstream)
        await upstream.aclose()

    asyncio.run(all_steps())


def test_only_responses_keeps_conversations() -> None:
    assert isinstance(ResponsesUpstream("a"), KeepsConversations)
    assert not isinstance(ChatCompletionsUpstream("b"), KeepsConversations)


def test_the_second_turn_sends_only_new_items(upstream_server: ScriptedServer) -> None:
    async def steps(upstream: ResponsesUpstream) -> None:
        kept = await upstream.create_conversation()
        for text in ("First", "Second"):
            upstream_server.expect(say="Yes", expect_text=text)
            heard = await hear(upstream, asking(text, conversation=kept))
            assert heard.finished is not None
            assert heard.finished.conversation == kept
        assert len(upstream_server.conversations[kept]) == 4

    run(upstream_server, steps)
    body = upstream_server.model_requests()[1].body
    assert len(body["input"]) == 1
    assert "store" not in body


def test_a_lost_conversation(upstream_server: ScriptedServer) -> None:
    async def steps(upstream: ResponsesUpstream) -> None:
        heard = await hear(upstream, asking(conversation="conv_gone"))
        assert isinstance(heard.error, ConversationLost)

    run(upstream_server, steps)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("No tool output found for function call call_1.", ConversationLost),
        ("Unknown parameter: 'colour'.", UpstreamRefused),
    ],
)
def test_a_refusal_is_a_loss_only_where_it_says_so(
    upstream_server: ScriptedServer, message: str, error: type[Exception]
) -> None:
    async def steps(upstream: ResponsesUpstream) -> None:
        kept = await upstream.create_conversation()
        upstream_server.expect(status=400, body=f'{{"error": {{"message": "{message}"}}}}')
        heard = await hear(upstream, asking(conversation=kept))
        assert type(heard.error) is error

    run(upstream_server, steps)


def test_a_server_that_ignores_the_conversation_is_found_out(
    upstream_server: ScriptedServer,
) -> None:
    upstream_server.dialect = "llamacpp"
    upstream_server.expect(say="Yes")

    async def steps(upstream: ResponsesUpstream) -> None:
        heard = await hear(upstream, asking(conversation="conv_1"))
        assert heard.finished is not None
        assert heard.finished.conversation is None

    run(upstream_server, steps)


def test_deleting_twice_is_no_error(upstream_server: ScriptedServer) -> None:
    async def steps(upstream: ResponsesUpstream) -> None:
        kept = await upstream.create_conversation()
        await upstream.delete_conversation(kept)
        await upstream.delete_conversation(kept)

    run(upstream_server, steps)
    assert upstream_server.conversations == {}


def test_no_conversations_here(upstream_server: ScriptedServer) -> None:
    upstream_server.dialect = "ollama"

    async def steps(upstream: ResponsesUpstream) -> None:
        with pytest.raises(UpstreamRefused):
            await upstream.create_conversation()

    run(upstream_server, steps)
