"""The quick check of a schema says what the meta-schema's own validator says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from chat.actions.assistants.tool_definitions import MAX_OBJECTS, clean_tools
from chat.errors import InvalidInput
from chat.tools.schema_check import _CHECKS, _ONE_SCHEMA, InvalidSchema, check_schema

KEYWORDS = sorted({*_CHECKS, *_ONE_SCHEMA, "const", "default", "x-own"})
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 1.0, 1.5, 0.0, -0.5, "", "a", "object", "[", "a#b", "#", "1a"),
    *([], ["a"], ["a", "a"], ["a", 1], [1, 1], ["string", "null"], ["string", "string"], ["x"]),
    *([{}], [True], [{}, 3], [{"type": 7}], {}, {"a": {}}, {"a": True}, {"a": 3}, {"[": {}}),
    *({"a": ["b"]}, {"a": ["b", "b"]}, {"a": {"type": "strin"}}, {"type": "string"}),
    *({"type": 3}, {"minLength": -1}, {"a": "b"}, {"a": None}, {"properties": {"b": 5}}),
]


def says(schema: Any) -> bool:
    try:
        check_schema(schema)
    except InvalidSchema:
        return False
    return True


def meta_schema_says(schema: Any) -> bool:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError:
        return False
    return True


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_each_keyword_is_checked_as_the_meta_schema_does(keyword: str) -> None:
    for value in VALUES:
        for schema in ({keyword: value}, {"properties": {"a": {keyword: value}}}):
            assert says(schema) == meta_schema_says(schema), schema


@settings(max_examples=200)
@given(
    st.recursive(
        st.sampled_from(VALUES),
        lambda inner: (
            st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=3)
            | st.lists(inner, max_size=2)
        ),
        max_leaves=8,
    )
)
def test_whatever_schema_is_checked_as_the_meta_schema_does(schema: Any) -> None:
    assert says(schema) == meta_schema_says(schema), schema


def test_the_first_wrong_place_is_named() -> None:
    schema = {"properties": {"a": {"anyOf": [{}, {"required": ["b", "b"]}]}}}
    with pytest.raises(InvalidSchema, match=r"at properties\.a\.anyOf\.1\.required: "):
        check_schema(schema)


def tool(properties: int) -> list[dict[str, Any]]:
    parameters = {"type": "object", "properties": {f"p{n}": {} for n in range(properties)}}
    return [{"type": "function", "function": {"name": "own", "parameters": parameters}}]


def test_tools_have_at_most_five_hundred_objects() -> None:
    assert MAX_OBJECTS == 500
    around = 4  # the tool, its function, its parameters, their properties
    assert clean_tools(tool(MAX_OBJECTS - around), limit=10)
    with pytest.raises(InvalidInput, match="at most 500 objects"):
        clean_tools(tool(MAX_OBJECTS - around + 1), limit=10)


def test_a_long_list_of_names_of_several_kinds_is_refused_at_once() -> None:
    names: list[Any] = [[str(n), n][n % 2] for n in range(20_000)]
    assert not says({"required": names})
