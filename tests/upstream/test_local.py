"""The adapters against a real llama.cpp server with a small model (`make test-local`).

What such a model says is not tested, only that the wire holds.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chat.upstream.base import FunctionCall, FunctionOutput
from chat.upstream.errors import ContextTooLong, UpstreamRefused
from chat.upstream.responses import ResponsesUpstream
from chat.upstream.retry import RetryPolicy, stream_with_retries
from tests.upstream.chats import ADAPTERS, WEATHER, Heard, asking, message

pytestmark = pytest.mark.local
SERVER = Path(__file__).with_name("local_server.py")


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    python = os.environ.get("ATRIUM_LOCAL_PYTHON")
    if not python:
        pytest.fail("ATRIUM_LOCAL_PYTHON must name an interpreter that has xllamacpp.")
    with subprocess.Popen(
        [python, str(SERVER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        address = next(line.strip() for line in process.stdout if line.startswith("http"))
        yield f"{address}/v1"
        process.terminate()


@pytest.fixture(params=sorted(ADAPTERS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def hear(base_url: str, kind: str, **fields: Any) -> Heard:
    """Ask once, repeating what fails before it begins: llama.cpp drops kept connections."""

    async def once() -> Heard:
        upstream = ADAPTERS[kind]("local", base_url=base_url)
        heard = Heard()
        try:
            stream = stream_with_retries(
                upstream, asking(**fields), policy=RetryPolicy(), deadline=1e12
            )
            async for events in stream:
                heard.reads.append(events)
        finally:
            await upstream.aclose()
        return heard

    return asyncio.run(once())


def test_an_answer_streams_with_usage(base_url: str, kind: str) -> None:
    heard = hear(base_url, kind, instructions="Be brief.", max_output_tokens=12)
    assert heard.text
    assert len(heard.reads) > 1
    assert heard.usage is not None
    assert 0 < heard.usage.output_tokens <= 12


def test_a_cut_answer_is_told_from_a_whole_one(base_url: str, kind: str) -> None:
    assert hear(base_url, kind, text="Tell a long story", max_output_tokens=5).reason == "length"


def test_history_with_a_tool_round_is_taken(base_url: str, kind: str) -> None:
    items = (
        message("Hello"),
        message("Hi, how can I help?", "assistant"),
        message("Weather in Rome?"),
        FunctionCall(call_id="call_1", name="get_weather", arguments='{"city":"Rome"}'),
        FunctionOutput(call_id="call_1", output="sunny"),
    )
    heard = hear(base_url, kind, items=items, tools=(WEATHER,), max_output_tokens=20)
    assert heard.finished is not None


def test_a_prompt_that_is_too_long(base_url: str, kind: str) -> None:
    with pytest.raises(ContextTooLong):
        hear(base_url, kind, text="word " * 3000)


def test_probe(base_url: str, kind: str) -> None:
    async def probe() -> tuple[bool, bool, bool]:
        upstream = ADAPTERS[kind]("local", base_url=base_url)
        try:
            found = await upstream.probe()
        finally:
            await upstream.aclose()
        assert len(found.models) == 1
        return found.responses, found.chat_completions, found.conversations

    assert asyncio.run(probe()) == (True, True, False)


def test_it_keeps_no_conversations(base_url: str) -> None:
    async def create() -> None:
        upstream = ResponsesUpstream("local", base_url=base_url)
        try:
            await upstream.create_conversation()
        finally:
            await upstream.aclose()

    with pytest.raises(UpstreamRefused):
        asyncio.run(create())
