"""The pieces below the adapters: splitting, decoding, cleaning, redaction, rescue, building."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.storable_text import TextCleaner
from chat.upstream import build
from chat.upstream.base import (
    AnswerEnd,
    Event,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
    UpstreamConfig,
)
from chat.upstream.chat_completions import ChatParser
from chat.upstream.classify import parse_retry_after
from chat.upstream.errors import StreamBroken, redact
from chat.upstream.sse import EventSplitter, decode
from chat.upstream.text_tool_calls import TextToolCallParser
from tests.upstream.chats import WEATHER, Heard

STREAM = (
    '\ufeff: hi\r\n\r\nevent: x\ndata: {"a": "é\U0001f600"}\n\n\n\ndata:one\rdata: two\r\r'
    "id: 3\nretry: 5\n\nevent: error\ndata: {}\n\ndata: last"
)
EVENTS = [
    ('{"a": "é\U0001f600"}'.encode(), False),
    (b"one\ntwo", False),
    (b"{}", True),
    (b"last", False),
]


@given(st.lists(st.integers(0, len(STREAM.encode())), max_size=12))
def test_events_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    splitter, found, data = EventSplitter(), [], STREAM.encode()
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
        found += splitter.feed(data[start:end])
    assert found + splitter.end() == EVENTS


def test_an_endless_event_is_refused() -> None:
    splitter = EventSplitter()
    for _ in range(16):
        splitter.feed(b"x" * 1024 * 1024)
    with pytest.raises(StreamBroken):
        splitter.feed(b"x")


@pytest.mark.parametrize("data", [b'{"a":', b"", b"\xff", b"[" * 100_000])
def test_what_is_not_json(data: bytes) -> None:
    with pytest.raises(StreamBroken):
        decode(data)


def test_an_emoji_cut_between_two_deltas_is_joined() -> None:
    cleaner = TextCleaner()
    halves = [decode(b'"a\\ud83d"'), decode(b'"\\ude00b"')]
    assert [cleaner.clean(half) for half in halves] == ["a", "\U0001f600b"]


def test_a_stray_surrogate_becomes_a_replacement() -> None:
    assert TextCleaner().clean("a\ude00b") == "a\ufffdb"


@pytest.mark.parametrize(
    "text",
    ["Incorrect API key provided: sk-proj-abc123def456", "Authorization: Bearer eyJhbGciOi.x.y"],
)
def test_keys_are_redacted(text: str) -> None:
    said = redact(text)
    assert "[key]" in said
    assert "abc123" not in said
    assert "eyJ" not in said


def test_operators_messages_are_short_and_printable() -> None:
    assert len(redact("a\x00\n" * 5000)) <= 500
    assert redact("a\x1b[31m\nb").isprintable()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-1"}, None),
        ({}, None),
    ],
)
def test_retry_after_in_all_spellings(headers: dict[str, str], seconds: float | None) -> None:
    assert parse_retry_after(headers) == seconds


def test_a_function_named_late() -> None:
    parser = ChatParser()
    events = parser.feed(
        b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{'
        b'"arguments":"{"}}]}}]}\n\n'
        b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f",'
        b'"arguments":"}"}}]}}]}\n\n'
    )
    assert Heard([events]).calls == [(0, "f", "{}")]


def test_arguments_as_an_object() -> None:
    parser = ChatParser()
    events = parser.feed(
        b'data: {"choices":[{"delta":{"tool_calls":[{"function":{"name":"f",'
        b'"arguments":{"a":1}}}]}}]}\n\ndata: [DONE]\n\n'
    )
    assert Heard([events]).calls == [(0, "f", '{"a":1}')]


CALL = '{"name": "get_weather", "arguments": {"city": "Rome"}}'


def rescued(*texts: str, reason: str = "stop") -> list[Event]:
    rescue = TextToolCallParser((WEATHER,))
    found: list[Event] = []
    for text in texts:
        found += rescue.filter_events([TextDelta(text)])
    return found + rescue.filter_events([AnswerEnd(reason)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "texts",
    [
        (CALL,),
        tuple(CALL),
        (f"<tool_call>\n{CALL}\n</tool_call>",),
        tuple(f"<tool_call>{CALL}</tool_call>"),
        ("```json\n", CALL, "\n```"),
        ("[TOOL_CALLS][", CALL, "]"),
        ('{"name": "get_weather", "parameters": {"city": "Rome"}}',),
    ],
)
def test_calls_left_in_the_text_are_rescued(texts: tuple[str, ...]) -> None:
    assert rescued(*texts) == [
        ToolCallStarted(0, "", "get_weather"),
        ToolArgumentsDelta(0, '{"city":"Rome"}'),
        AnswerEnd("tool_calls"),
    ]


def test_text_before_a_tagged_call_is_given_at_once() -> None:
    heard = Heard([rescued("Let me look. <tool", f"_call>{CALL}</tool_call>")])
    assert (heard.text, heard.calls[0][1]) == ("Let me look. ", "get_weather")


@pytest.mark.parametrize(
    "text",
    [
        '{"answer": 42}',
        '{"name": "rm_rf", "arguments": {}}',
        "```python\nprint(1)\n```",
        "a < b and [1]",
        "ends with <tool",
        f"It would send {CALL}",
    ],
)
def test_other_text_arrives_whole(text: str) -> None:
    heard = Heard([rescued(*text)])
    assert (heard.text, heard.calls, heard.reason) == (text, [], "stop")


def test_a_call_whose_arguments_nest_too_deeply_is_text() -> None:
    text = '{"name": "get_weather", "arguments": {"city": ' + "[" * 300 + "]" * 300 + "}}"
    heard = Heard([rescued(text)])
    assert (heard.text, heard.calls, heard.reason) == (text, [], "stop")


def test_arguments_that_nest_too_deeply_break_the_stream() -> None:
    deep = '{"city": ' + "[" * 300 + "]" * 300 + "}"
    call = f'{{"index": 0, "id": "c", "function": {{"name": "get_weather", "arguments": {deep}}}}}'
    parser = ChatParser()
    parser.feed(b'data: {"choices": [{"delta": {"tool_calls": [%s]}}]}\n\n' % call.encode())
    assert isinstance(parser.error, StreamBroken)


def test_a_call_that_was_cut_is_not_rescued() -> None:
    assert Heard([rescued(CALL, reason="length")]).text == CALL


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("chat.upstream.nowhere.Upstream", {}),
        ("chat.upstream.responses.Nothing", {}),
        ("nonsense", {}),
        ("chat.upstream.responses.ResponsesUpstream", {"colour": "red"}),
        ("chat.upstream.responses.ResponsesUpstream", {"base_url": "ftp://example.org"}),
        ("chat.upstream.scripted.ScriptedUpstream", {"tokens_per_second": -1}),
    ],
)
def test_a_setting_that_cannot_work_is_named(kind: str, options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Upstream main"):
        build(UpstreamConfig(name="main", kind=kind, options=options))
