"""Arguments: one strict reading of the exact text, no coercion."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.errors import InvalidJson
from chat.json_input import parse_json_object
from chat.tools.arguments import ReservedArgument, parse_arguments, redact
from chat.tools.base import Tool, ToolContext, ToolError
from chat.tools.registry import make_tool


def order(
    ctx: ToolContext,
    number: int,
    price: Decimal = Decimal(0),
    day: date | None = None,
    sure: bool = False,
    words: list[str] | None = None,
) -> None:
    """Take an order."""


TOOL: Tool = make_tool(order)

BAD_JSON = {
    "malformed": '{"number": ',
    "not an object": "[1]",
    "duplicate keys": '{"number": 1, "number": 2}',
    "duplicate keys inside": '{"number": 1, "words": [{"a": 1, "a": 2}]}',
    "nan": '{"number": NaN}',
    "infinity": '{"number": -Infinity}',
    "too large a float": '{"number": 1e400}',
    "a huge integer": '{"number": ' + "9" * 5000 + "}",
    "an integer beyond 64 bits": '{"number": 9223372036854775808}',
    "nul": '{"words": ["\\u0000"]}',
    "nul in a key": '{"a\\u0000": 1}',
    "lone surrogate": '{"words": ["\\ud800"]}',
    "raw surrogate": '{"words": ["\ud800"]}',
    "depth": '{"words": ' + "[" * 40 + "]" * 40 + "}",
    "great depth": "[" * 60_000,
    "length": json.dumps({"words": ["x" * 70_000]}),
    "two values": "{} {}",
    "byte order mark": "\ufeff{}",
    "comment": '{"number": 1 /* one */}',
}


@pytest.mark.parametrize("raw", BAD_JSON.values(), ids=BAD_JSON.keys())
def test_bad_json_is_refused_to_the_model(raw: str) -> None:
    with pytest.raises(ToolError) as caught:
        parse_arguments(TOOL, raw)
    assert caught.value.code == "invalid_arguments"


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"number": "1"},
        {"number": 1.0},
        {"number": True},
        {"number": None},
        {"number": 1, "sure": "true"},
        {"number": 1, "sure": 1},
        {"number": 1, "price": 12.5},
        {"number": 1, "price": "12,5"},
        {"number": 1, "price": "1e5"},
        {"number": 1, "words": "a"},
        {"number": 1, "words": [1]},
        {"number": 1, "day": "tomorrow"},
        {"number": 1, "unknown": 1},
        {"number": 1, "words": ["x"] * 101},
    ],
    ids=str,
)
def test_what_the_schema_forbids_is_refused_without_coercion(arguments: Any) -> None:
    with pytest.raises(ToolError) as caught:
        parse_arguments(TOOL, json.dumps(arguments))
    assert caught.value.code == "invalid_arguments"


def test_good_arguments_come_back_as_they_were_sent() -> None:
    sent = {"number": 1042, "price": "12.50", "day": "2026-02-01", "sure": True, "words": ["é"]}
    assert parse_arguments(TOOL, json.dumps(sent)) == sent


def test_nothing_at_all_means_no_arguments() -> None:
    def ping(ctx: ToolContext) -> None:
        """Answer."""

    assert parse_arguments(make_tool(ping), "") == {}


@pytest.mark.parametrize(
    "arguments",
    [
        {"number": 1, "tenant": "globex"},
        {"number": 1, "tenantId": "globex"},
        {"number": 1, "words": [{"user_id": "gina"}]},
        {"number": 1, "api_key": "x"},
    ],
    ids=str,
)
def test_an_argument_that_says_who_is_asking_is_told_apart(arguments: Any) -> None:
    with pytest.raises(ReservedArgument):
        parse_arguments(TOOL, json.dumps(arguments))


def test_the_sentence_says_what_to_mend() -> None:
    with pytest.raises(ToolError, match="'number' is missing"):
        parse_arguments(TOOL, "{}")
    with pytest.raises(ToolError, match="number: this must be of type integer"):
        parse_arguments(TOOL, '{"number": "1"}')


def test_the_audit_copy_hides_secrets_and_cuts_texts() -> None:
    copy = redact({"pin_password": "hunter2", "note": "x" * 500, "deep": [{"token": "t"}]})
    assert copy["pin_password"] == "[hidden]"
    assert copy["deep"] == [{"token": "[hidden]"}]
    assert len(copy["note"]) == 201


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner),
    max_leaves=15,
)


@given(st.dictionaries(st.text('abc"\\{[', max_size=4), json_values, max_size=4))
def test_every_proper_object_is_read_exactly(value: dict[str, Any]) -> None:
    assert parse_json_object(json.dumps(value), max_bytes=1_000_000) == value


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_other_input_is_refused_with_one_error(raw: bytes | str) -> None:
    try:
        found = parse_json_object(raw, max_bytes=50, max_depth=4)
    except InvalidJson:
        return
    assert isinstance(found, dict)
