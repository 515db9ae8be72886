"""The test upstream told over HTTP, as another process does."""

from __future__ import annotations

import json
import urllib.request
from time import monotonic_ns
from typing import Any

import pytest

from chat.upstream.chat_completions import ChatCompletionsUpstream
from tests.upstream.chats import Ask, asker, asking
from tests.upstream.server import ScriptedServer


@pytest.fixture
def ask(upstream_server: ScriptedServer) -> Ask:
    return asker(lambda: ChatCompletionsUpstream("test", base_url=upstream_server.base_url))


def control(server: ScriptedServer, path: str, body: dict[str, Any] | None = None) -> Any:
    address = f"http://127.0.0.1:{server.port}/control/{path}"
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(address, data)) as reply:
        return json.load(reply)


def test_a_script_is_answered_and_recorded(ask: Ask, upstream_server: ScriptedServer) -> None:
    control(upstream_server, "script", {"answers": [{"say": ["Hel", "lo"]}]})
    assert ask(asking("Hi")).text == "Hello"
    seen = control(upstream_server, "requests")
    assert seen["requests"][0]["body"]["messages"] == [{"role": "user", "content": "Hi"}]
    assert (seen["left"], seen["problems"]) == (0, [])


def test_keyed_answers_find_their_chat(ask: Ask, upstream_server: ScriptedServer) -> None:
    for key in ("red", "blue"):
        control(upstream_server, "script", {"key": key, "answers": [{"say": key}]})
    assert ask(asking("a blue one")).text == "blue"
    assert ask(asking("a red one")).text == "red"


def test_a_repeated_answer_never_ends(ask: Ask, upstream_server: ScriptedServer) -> None:
    script = {"key": "test-model", "answers": [{"say": "a"}, {"say": "b"}], "repeat": True}
    control(upstream_server, "script", script)
    assert [ask().text for _ in range(3)] == ["a", "b", "b"]


def test_a_free_run_gives_paced_numbered_tokens(ask: Ask, upstream_server: ScriptedServer) -> None:
    control(upstream_server, "free", {"tokens": 5, "rate": 200.0, "first": 0.0})
    began = monotonic_ns()
    tokens = [token.partition("@") for token in ask().text.split()]
    assert [number for number, _, _ in tokens] == ["0", "1", "2", "3", "4"]
    sent = [int(moment) for _, _, moment in tokens]
    assert sent[-1] - began >= 15_000_000


def test_reset_forgets(upstream_server: ScriptedServer) -> None:
    control(upstream_server, "script", {"answers": [{"say": "x"}]})
    control(upstream_server, "reset", {})
    assert control(upstream_server, "requests")["left"] == 0
