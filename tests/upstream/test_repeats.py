"""Events that come twice, in another order, or that are not what the final event says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chat.upstream.chat_completions import ChatParser
from chat.upstream.errors import StreamBroken
from chat.upstream.numbering import MAX_COMPARED, MAX_HELD, EventSequencer
from chat.upstream.response_parser import AnswerParser
from chat.upstream.responses import ResponsesParser
from tests.upstream.chats import ADAPTERS, KEY, Heard, asker
from tests.upstream.script import Answer
from tests.upstream.server import ScriptedServer

WORDS = tuple(f"qw{number} " for number in range(30))
ARGUMENTS = '{"city": "Graz", "days": [1, 2, 3]}'
CALLS = [{"name": "get_weather", "arguments": ARGUMENTS, "pieces": 7, "id": "call_1"}]
PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}


def ask_responses(server: ScriptedServer) -> Heard:
    return asker(
        lambda **options: ADAPTERS["responses"](
            "test", base_url=server.base_url, api_key=KEY, **options
        )
    )()


@pytest.mark.parametrize("fault", ["dup_events", "reorder_events"])
def test_numbered_events_are_taken_once_and_in_order(
    upstream_server: ScriptedServer, fault: str
) -> None:
    given: dict[str, Any] = {"say": WORDS, "calls": CALLS, fault: True}
    upstream_server.expect(Answer.from_json(given))
    heard = ask_responses(upstream_server)
    assert heard.error is None
    assert heard.text == "".join(WORDS)
    assert heard.calls == [(0, "get_weather", ARGUMENTS)]
    assert heard.reason == "tool_calls"


@pytest.mark.parametrize("say", [WORDS, ()])
def test_doubled_events_without_numbers_are_no_answer(
    upstream_server: ScriptedServer, say: tuple[str, ...]
) -> None:
    upstream_server.dialect = "llamacpp"
    upstream_server.expect(say=say, calls=() if say else CALLS, dup_events=True)
    heard = ask_responses(upstream_server)
    assert isinstance(heard.error, StreamBroken)
    assert heard.error.after_first_content
    assert heard.finished is None


def test_reordered_events_without_numbers_are_no_answer(upstream_server: ScriptedServer) -> None:
    upstream_server.dialect = "llamacpp"
    upstream_server.expect(say=WORDS, reorder_events=True)
    assert isinstance(ask_responses(upstream_server).error, StreamBroken)


def fed(parser: AnswerParser, payloads: list[dict[str, Any]]) -> Heard:
    """Return what a parser makes of these events, each in a read of its own."""
    reads = [parser.feed(f"data: {json.dumps(payload)}\n\n".encode()) for payload in payloads]
    return Heard([*reads, parser.end()], error=parser.error)


def delta(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "response.output_text.delta", **PLACE, "delta": text, **more}


def text_done(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "response.output_text.done", **PLACE, "text": text, **more}


def completed(text: str | None = None, *, calls: Any = (), **more: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text}]
    said = [] if text is None else [{"type": "message", "content": content}]
    called = [{"type": "function_call", "name": name, "arguments": args} for name, args in calls]
    response = {"status": "completed", "output": [*said, *called]}
    return {"type": "response.completed", "response": response, **more}


@pytest.mark.parametrize(
    "events",
    [
        [delta("Hel"), delta("lo"), completed("Hello")],
        [delta("Hel"), text_done("Hello"), delta("lo"), completed("Hello")],
        [delta("Hel"), completed("Hello")],
        [delta("Hello"), completed()],
        [delta("Hello"), text_done(""), completed()],
        [delta("Hello"), text_done("Hello"), text_done("Hello"), completed("Hello")],
        [text_done("Hello"), completed("Hello")],
        [completed("Hello")],
    ],
)
def test_the_final_text_is_what_is_heard(events: list[dict[str, Any]]) -> None:
    heard = fed(ResponsesParser(), events)
    assert (heard.text, heard.reason, heard.error) == ("Hello", "stop", None)


def test_white_space_around_a_text_makes_no_other_text() -> None:
    heard = fed(ResponsesParser(), [delta("\nHello\n"), text_done("Hello"), completed("Hello")])
    assert (heard.text, heard.reason) == ("\nHello\n", "stop")


@pytest.mark.parametrize("streamed", ["HelHello", "HHeelllloo", "loHel", "Hello Hello", "Other"])
@pytest.mark.parametrize("ending", [[text_done("Hello"), completed()], [completed("Hello")]])
def test_another_text_than_the_final_one_is_no_answer(
    streamed: str, ending: list[dict[str, Any]]
) -> None:
    heard = fed(ResponsesParser(), [delta(streamed), *ending])
    assert isinstance(heard.error, StreamBroken)
    assert heard.finished is None


def calling(*pieces: str, done: str | None = None) -> list[dict[str, Any]]:
    item = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "f"}
    events: list[dict[str, Any]] = [{"type": "response.output_item.added", "item": item}]
    kind = "response.function_call_arguments"
    events += [{"type": f"{kind}.delta", "item_id": "fc_1", "delta": piece} for piece in pieces]
    if done is not None:
        events.append({"type": f"{kind}.done", "item_id": "fc_1", "arguments": done})
    return events


@pytest.mark.parametrize(
    "events",
    [
        [*calling('{"a":', "1}", done='{"a":1}'), completed(calls=[("f", '{"a":1}')])],
        [*calling('{"a":', done='{"a":1}'), *calling("1}")[1:], completed()],
        [*calling('{"a":', "1}"), completed(calls=[("f", '{"a": 1}')])],
        [*calling('{"a":'), completed(calls=[("f", '{"a":1}')])],
        [*calling(done='{"a":1}'), completed()],
        [completed(calls=[("f", '{"a":1}')])],
        [delta("Look:"), completed("Look:", calls=[("f", '{"a":1}')])],
    ],
)
def test_the_final_arguments_are_those_of_the_call(events: list[dict[str, Any]]) -> None:
    heard = fed(ResponsesParser(), events)
    assert [(name, json.loads(args)) for _index, name, args in heard.calls] == [("f", {"a": 1})]
    assert (heard.reason, heard.error) == ("tool_calls", None)


@pytest.mark.parametrize(
    "events",
    [
        [*calling('{"a":', '{"a":', "1}", done='{"a":1}'), completed()],
        [*calling("1}", '{"a":'), completed(calls=[("f", '{"a":1}')])],
        [*calling('{"a":1}'), completed(calls=[("g", '{"a":1}')])],
    ],
)
def test_other_arguments_than_the_final_ones_are_no_call(events: list[dict[str, Any]]) -> None:
    assert isinstance(fed(ResponsesParser(), events).error, StreamBroken)


@pytest.mark.parametrize("number", [0, 7, -1, None, "3", True])
def test_numbers_that_do_not_count_are_not_used(number: Any) -> None:
    events = [delta(word, sequence_number=number) for word in WORDS]
    heard = fed(ResponsesParser(), [*events, completed("".join(WORDS), sequence_number=number)])
    assert (heard.text, heard.reason) == ("".join(WORDS), "stop")


def test_a_server_that_leaves_numbers_out_is_understood() -> None:
    events = [delta(word, sequence_number=3 * number) for number, word in enumerate(WORDS)]
    heard = fed(ResponsesParser(), [*events, completed(sequence_number=1000)])
    assert (heard.text, heard.reason) == ("".join(WORDS), "stop")


def test_an_event_that_comes_much_too_late_is_no_answer() -> None:
    first, late, *rest = [delta(word, sequence_number=n) for n, word in enumerate(WORDS)]
    heard = fed(ResponsesParser(), [first, *rest, late, completed(sequence_number=30)])
    assert isinstance(heard.error, StreamBroken)


def test_what_waits_is_given_at_the_end() -> None:
    events = [delta("Hel", sequence_number=0), delta("lo", sequence_number=2)]
    heard = fed(ResponsesParser(), [*events, completed("Hello", sequence_number=3)])
    assert (heard.text, heard.reason) == ("Hello", "stop")


def test_little_is_kept_of_a_long_stream() -> None:
    numbering = EventSequencer(is_idle=lambda _one: False, is_last=lambda _one: False)
    for number in [*range(10_000), *range(10_001, 20_000)]:
        numbering.take(number, {"delta": number})
        assert len(numbering._held) <= MAX_HELD + 1
        assert len(numbering._given) <= MAX_COMPARED


def chunk(*, delta: Any = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, **more}
    return {"object": "chat.completion.chunk", "choices": [choice]}


def call_part(**more: Any) -> dict[str, Any]:
    return {"index": 0, "type": "function", **more}


WHOLE = '{"city":"Graz"}'
NAMED = {"name": "get_weather", "arguments": WHOLE}
STOP = chunk(delta={}, finish_reason="tool_calls")


@pytest.mark.parametrize(
    "parts",
    [
        [call_part(id="c", function=NAMED), call_part(id="c", function=NAMED)],
        [
            call_part(id="c", function=NAMED),
            call_part(id="c", function={"name": "get_weather", "arguments": ""}),
        ],
        [call_part(id="c", function=NAMED), call_part(function={"arguments": WHOLE})],
        [call_part(function=NAMED), call_part(function=NAMED)],
    ],
)
def test_a_repeated_chunk_makes_no_second_call(parts: list[dict[str, Any]]) -> None:
    heard = fed(ChatParser(), [*(chunk(delta={"tool_calls": [part]}) for part in parts), STOP])
    assert heard.calls == [(0, "get_weather", WHOLE)]


def test_calls_that_share_an_index_stay_two() -> None:
    parts = [
        call_part(function={"name": "get_weather", "arguments": f'{{"city":"{city}"}}'})
        for city in ("Graz", "Rome")
    ]
    heard = fed(ChatParser(), [*(chunk(delta={"tool_calls": [part]}) for part in parts), STOP])
    assert [args for _index, _name, args in heard.calls] == [WHOLE, '{"city":"Rome"}']


@pytest.mark.parametrize("last", [None, {}])
def test_the_whole_message_in_the_last_chunk_is_said_once(last: Any) -> None:
    pieces = [chunk(delta={"content": word}) for word in ("Hel", "lo")]
    end = chunk(delta=last, message={"content": "Hello"}, finish_reason="stop")
    heard = fed(ChatParser(), [*pieces, end])
    assert (heard.text, heard.reason) == ("Hello", "stop")


def test_another_whole_message_is_no_answer() -> None:
    pieces = [chunk(delta={"content": word}) for word in ("Hel", "Hel", "lo")]
    end = chunk(delta={}, message={"content": "Hello"}, finish_reason="stop")
    assert isinstance(fed(ChatParser(), [*pieces, end]).error, StreamBroken)


def test_a_chunk_with_the_same_padding_is_the_same_chunk() -> None:
    one, other = (chunk(delta={"content": "ha "}) | {"obfuscation": pad} for pad in ("x1", "y2"))
    heard = fed(ChatParser(), [one, one, other, other, chunk(delta={}, finish_reason="stop")])
    assert heard.text == "ha ha "
