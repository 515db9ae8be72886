"""The JSON Schema meta-schema (draft 2020-12) as code; checks take microseconds per object."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

Check = Callable[[Any], str | None]

_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_ANCHOR = re.compile(r"[A-Za-z_][-A-Za-z0-9._]*")
_ID = re.compile(r"[^#]*#?")


class InvalidSchema(ValueError):
    """An invalid schema. The message names the place and the problem."""


def check_schema(schema: Any) -> None:
    """Check that a value is a valid JSON Schema.

    Raises:
        InvalidSchema: the schema is invalid; the message names the first invalid place.
        RecursionError, OverflowError: a regular expression is too large.
    """
    waiting: list[tuple[str, Any]] = [("", schema)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, bool):
            continue
        if not isinstance(value, dict):
            raise InvalidSchema(_format_error(place, "a schema must be an object or a boolean"))
        for keyword, given in value.items():
            inner = f"{place}.{keyword}" if place else str(keyword)
            wrong = _CHECKS.get(keyword, _is_anything)(given)
            if wrong is not None:
                raise InvalidSchema(_format_error(inner, wrong))
            waiting.extend(_inner_schemas(keyword, given, inner))


def _format_error(place: str, wrong: str) -> str:
    return f"at {place[:200]}: {wrong}" if place else wrong


def _inner_schemas(keyword: str, given: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield the subschemas in the value of a keyword, each with its path."""
    if keyword in _ONE_SCHEMA:
        yield place, given
    elif keyword in _MANY_SCHEMAS:
        for index, inner in enumerate(given):
            yield f"{place}.{index}", inner
    elif keyword in _NAMED_SCHEMAS:
        for name, inner in given.items():
            yield f"{place}.{name}", inner
    elif keyword == "dependencies":
        for name, inner in given.items():
            if not isinstance(inner, list):
                yield f"{place}.{name}", inner


def _is_anything(value: Any) -> str | None:
    return None


def _is_string(value: Any) -> str | None:
    return None if isinstance(value, str) else "must be a string"


def _is_boolean(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _is_number(value: Any) -> str | None:
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    return None if fits else "must be a number"


def _is_positive(value: Any) -> str | None:
    return _is_number(value) or (None if value > 0 else "must be greater than 0")


def _is_count(value: Any) -> str | None:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    fits = whole and not isinstance(value, bool) and value >= 0
    return None if fits else "must be an integer of at least 0"


def _is_array(value: Any) -> str | None:
    return None if isinstance(value, list) else "must be an array"


def _is_object(value: Any) -> str | None:
    return None if isinstance(value, dict) else "must be an object"


def _check_schemas(value: Any) -> str | None:
    fits = isinstance(value, list) and bool(value)
    return None if fits else "must be an array of at least one schema"


def _check_names(value: Any) -> str | None:
    fits = isinstance(value, list) and all(isinstance(name, str) for name in value)
    return None if fits and len(set(value)) == len(value) else "must be an array of unique strings"


def _check_names_by_name(value: Any) -> str | None:
    return _is_object(value) or next(filter(None, map(_check_names, value.values())), None)


def _check_dependencies(value: Any) -> str | None:
    if not isinstance(value, dict):
        return _is_object(value)
    lists = [inner for inner in value.values() if isinstance(inner, list)]
    return next(filter(None, map(_check_names, lists)), None)


def _is_type(value: Any) -> str | None:
    names = [value] if isinstance(value, str) else value
    fits = isinstance(names, list) and names and _check_names(names) is None
    return None if fits and _TYPES.issuperset(names) else "must be a type or an array of types"


def _is_pattern(value: Any) -> str | None:
    if not isinstance(value, str):
        return "must be a string"
    try:
        re.compile(value)
    except re.error:
        return "must be a regular expression"
    return None


def _check_patterns(value: Any) -> str | None:
    return _is_object(value) or next(filter(None, map(_is_pattern, value)), None)


def _is_anchor(value: Any) -> str | None:
    fits = isinstance(value, str) and _ANCHOR.fullmatch(value) is not None
    return None if fits else "must be a name"


def _is_id(value: Any) -> str | None:
    fits = isinstance(value, str) and _ID.fullmatch(value) is not None
    return None if fits else "must be an address without a fragment"


def _is_vocabulary(value: Any) -> str | None:
    return _is_object(value) or next(filter(None, map(_is_boolean, value.values())), None)


_ONE_SCHEMA = frozenset(
    {
        *("additionalProperties", "contains", "contentSchema", "else", "if", "items", "not"),
        *("propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"),
    }
)
_MANY_SCHEMAS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED_SCHEMAS = frozenset(
    {"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"}
)
_CHECKS: dict[str, Check] = {
    **dict.fromkeys(_MANY_SCHEMAS, _check_schemas),
    **dict.fromkeys(_NAMED_SCHEMAS, _is_object),
    **dict.fromkeys(("$schema", "$ref", "$dynamicRef", "$comment", "$recursiveRef"), _is_string),
    **dict.fromkeys(("title", "description", "format"), _is_string),
    **dict.fromkeys(("contentEncoding", "contentMediaType"), _is_string),
    **dict.fromkeys(("$anchor", "$dynamicAnchor", "$recursiveAnchor"), _is_anchor),
    **dict.fromkeys(("deprecated", "readOnly", "writeOnly", "uniqueItems"), _is_boolean),
    **dict.fromkeys(("minimum", "exclusiveMinimum"), _is_number),
    **dict.fromkeys(("maximum", "exclusiveMaximum"), _is_number),
    **dict.fromkeys(("minLength", "minItems", "minContains", "minProperties"), _is_count),
    **dict.fromkeys(("maxLength", "maxItems", "maxContains", "maxProperties"), _is_count),
    **dict.fromkeys(("enum", "examples"), _is_array),
    "$id": _is_id,
    "$vocabulary": _is_vocabulary,
    "dependencies": _check_dependencies,
    "dependentRequired": _check_names_by_name,
    "multipleOf": _is_positive,
    "pattern": _is_pattern,
    "patternProperties": _check_patterns,
    "required": _check_names,
    "type": _is_type,
}
