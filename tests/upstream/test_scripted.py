"""The demonstration provider: what it understands, how it answers, how it fails on request."""

from __future__ import annotations

import asyncio
import json
from time import monotonic
from typing import Any

import pytest

from chat.upstream.base import FunctionCall, FunctionOutput, Item, ToolSpec
from chat.upstream.errors import StreamBroken, UpstreamTimeout, UpstreamUnavailable
from chat.upstream.scripted import ScriptedUpstream
from tests.upstream.chats import Heard, asker, asking, message


def tool(name: str, description: str, required: tuple[str, ...], **properties: Any) -> ToolSpec:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return ToolSpec(name=name, description=description, parameters=schema)


NUMBER = {"type": "integer", "minimum": 1}
STATUS = {"anyOf": [{"type": "string", "enum": ["shipped", "delivered"]}, {"type": "null"}]}
SHOP = (
    tool("list_orders", "List your orders.", (), status=STATUS, limit={"type": "integer"}),
    tool("get_order", "Get an order and its carrier.", ("order_number",), order_number=NUMBER),
    tool(
        "update_delivery_address",
        "Change the address that an order goes to.",
        ("order_number", "address"),
        order_number=NUMBER,
        address={"type": "string"},
    ),
    tool("cancel_order", "Cancel an order.", ("order_number",), order_number=NUMBER),
)
CLINIC = (
    tool(
        "book_appointment",
        "Book an appointment with a doctor.",
        ("date", "email"),
        date={"type": "string", "format": "date"},
        email={"type": "string"},
    ),
    tool(
        "search_articles", "Search the library of articles.", ("query",), query={"type": "string"}
    ),
    tool("get_invoice", "Read one invoice.", ("invoice_id",), invoice_id={"type": "string"}),
)


def hears(*items: Item | str, tools: tuple[ToolSpec, ...] = SHOP, **fields: Any) -> Heard:
    given = tuple(message(item) if isinstance(item, str) else item for item in items)
    ask = asker(lambda: ScriptedUpstream("demo", tokens_per_second=0))
    return ask(asking(items=given, tools=tools, **fields))


def called(*items: Item | str, tools: tuple[ToolSpec, ...] = SHOP, **fields: Any) -> Any:
    return [(n, json.loads(a)) for _, n, a in hears(*items, tools=tools, **fields).calls]


ADDRESS = {"order_number": 1042, "address": "5 Elm Street, Springfield"}


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("Where is my order 1042?", "get_order", {"order_number": 1042}),
        ("Has #1042 arrived?", "get_order", {"order_number": 1042}),
        ("Show my orders", "list_orders", {}),
        ("Show my last 3 orders", "list_orders", {"limit": 3}),
        ("Which orders were delivered?", "list_orders", {"status": "delivered"}),
        ("Cancel order 1042", "cancel_order", {"order_number": 1042}),
        ("I'd like to cancel order 1042, please.", "cancel_order", {"order_number": 1042}),
        (
            "Change the delivery address of order 1042 to 5 Elm Street, Springfield",
            "update_delivery_address",
            ADDRESS,
        ),
        (
            "Please change the address to 5 Elm Street, Springfield for order 1042, thanks",
            "update_delivery_address",
            ADDRESS,
        ),
        (
            'Send order 1042 to "5 Elm Street, Springfield"',
            "update_delivery_address",
            ADDRESS,
        ),
    ],
)
def test_wishes_reach_the_tool(text: str, name: str, arguments: dict[str, Any]) -> None:
    assert called(text) == [(name, arguments)]


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        (
            "Book an appointment on 2026-12-01 for ann@example.org",
            "book_appointment",
            {"date": "2026-12-01", "email": "ann@example.org"},
        ),
        ("Search articles about the back pain", "search_articles", {"query": "back pain"}),
        ("Show me invoice INV-77", "get_invoice", {"invoice_id": "INV-77"}),
    ],
)
def test_it_knows_tools_only_by_their_schema(
    text: str, name: str, arguments: dict[str, Any]
) -> None:
    assert called(text, tools=CLINIC) == [(name, arguments)]


def test_several_things_are_looked_up_at_once() -> None:
    assert called("Where are orders 7 and 8?") == [
        ("get_order", {"order_number": 7}),
        ("get_order", {"order_number": 8}),
    ]


def test_nothing_is_changed_in_bulk() -> None:
    assert len(called("Cancel orders 7 and 8")) == 1
    assert "**order number**" in hears("Cancel all my orders").text


def test_it_asks_for_what_is_missing_and_takes_the_reply() -> None:
    question = hears("I want to change my delivery address").text
    assert "**order number**" in question
    assert "**address**" in question
    asked = message(question, "assistant")
    reply = "order 1042, to 5 Elm Street, Springfield"
    assert called("Change my delivery address", asked, reply) == [
        ("update_delivery_address", ADDRESS)
    ]


def test_a_question_can_be_left_unanswered() -> None:
    asked = message(hears("Cancel my order").text, "assistant")
    assert "Nothing was changed" in hears("Cancel my order", asked, "never mind").text
    assert called("Cancel my order", asked, "Show my orders") == [("list_orders", {})]


def test_it_points_back() -> None:
    call = FunctionCall(call_id="c", name="get_order", arguments='{"order_number": 7}')
    output = FunctionOutput(call_id="c", output="{}")
    earlier = ("Where is order 7?", call, output, message("Here.", "assistant"))
    assert called(*earlier, "Cancel it") == [("cancel_order", {"order_number": 7})]


@pytest.mark.parametrize("text", ["Hello", "What can you do?", "Sing me a song"])
def test_it_says_what_it_is_and_can_do(text: str) -> None:
    said = hears(text).text
    assert "not a language model" in said
    assert "Cancel an order" in said


def test_without_tools_it_claims_nothing() -> None:
    said = hears("Write a poem", tools=()).text
    assert "not a language model" in said
    assert "> Write a poem" in said


def test_tool_choice_none_calls_nothing() -> None:
    assert called("Where is order 7?", tool_choice="none") == []


def test_a_forced_tool_is_called() -> None:
    choice = {"type": "function", "function": {"name": "list_orders"}}
    assert called("Hello", tool_choice=choice) == [("list_orders", {})]


def answer(name: str, output: object) -> str:
    call = FunctionCall(call_id="c", name=name, arguments="{}")
    text = output if isinstance(output, str) else json.dumps(output)
    return hears("Do it", call, FunctionOutput(call_id="c", output=text)).text


ORDER = {
    "order_number": 1042,
    "status": "in_transit",
    "items": [{"name": "Desk lamp", "quantity": 2}],
    "carrier": "Postwerk",
    "expected_on": "2026-11-24",
    "total": "349.00",
    "currency": "EUR",
}


def test_one_object_becomes_sentences() -> None:
    said = answer("get_order", {"order": ORDER})
    assert said.startswith("Order **1042** is **in transit**.")
    for part in ("2 \u00d7 Desk lamp", "Postwerk", "24 November 2026", "349.00 EUR"):
        assert part in said


def test_a_list_becomes_a_table() -> None:
    said = answer("list_orders", {"orders": [ORDER, ORDER | {"order_number": 1043}]})
    assert "I found 2 orders" in said
    assert "| 1043 | in transit | Postwerk |" in said


def test_an_empty_list_is_said() -> None:
    assert answer("list_orders", []) == "I found no orders."


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("declined", "You declined"),
        ("not_found", "There is no order 9."),
        ("outcome_unknown", "cannot tell whether"),
        ("timeout", "could not look up an order just now"),
    ],
)
def test_failures_become_a_sentence(code: str, words: str) -> None:
    assert words in answer("get_order", {"error": {"code": code, "message": "There is no order 9"}})


def test_the_reason_a_tool_gives_is_passed_on() -> None:
    error = {"code": "too_late", "message": "Order 7 is shipped already"}
    said = answer("cancel_order", {"error": error})
    assert said == "Sorry, that did not work. Order 7 is shipped already."


def test_a_done_deed_is_said() -> None:
    said = answer("cancel_order", {"order_number": 7, "status": "cancelled"})
    assert said == "Done. Order **7** is **cancelled**."


def test_data_cannot_break_out_of_the_table() -> None:
    said = answer("list_orders", [{"name": "a|b\n\n# c <img src=x>"}])
    assert "a\\|b # c \\<img src=x>" in said


@pytest.mark.parametrize("output", ["plain words", "true", "null", "[1, 2]", "{}", '{"a": {}}'])
def test_any_output_gets_an_answer(output: str) -> None:
    assert answer("anything", output)


def test_the_same_question_gets_the_same_answer() -> None:
    assert hears("Hello").reads == hears("Hello").reads


def test_it_streams_word_by_word_with_usage() -> None:
    heard = hears("Hello")
    assert len(heard.reads) > 20
    assert heard.usage is not None
    assert heard.usage.output_tokens > 20


def test_it_keeps_to_the_limit() -> None:
    heard = hears("Hello", max_output_tokens=10)
    assert heard.reason == "length"
    assert len(heard.text) <= 60


def test_json_is_answered_with_json() -> None:
    said = json.loads(hears("Hello", response_format={"type": "json_object"}).text)
    assert said["demonstration"] is True


def test_it_keeps_pace() -> None:
    async def first_words() -> float:
        start, count = monotonic(), 0
        async for _ in ScriptedUpstream("demo", tokens_per_second=200).stream(asking()):
            count += 1
            if count == 11:
                break
        return monotonic() - start

    assert asyncio.run(first_words()) >= 0.05


@pytest.mark.parametrize(
    ("text", "error", "content"),
    [
        ("simulate failure", UpstreamUnavailable, False),
        ("Please simulate failure halfway", StreamBroken, True),
        ("simulate stall", UpstreamTimeout, True),
    ],
)
def test_it_fails_on_request(text: str, error: type[Exception], content: bool) -> None:
    ask = asker(lambda: ScriptedUpstream("demo", tokens_per_second=0, stall_timeout=0))
    heard = ask(asking(text))
    assert type(heard.error) is error
    assert bool(heard.text) is content
