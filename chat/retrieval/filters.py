"""Attribute filters of a vector store search, converted to conditions on StoreFile."""

from __future__ import annotations

import json
from typing import Any

from django.db.models import BooleanField, F, Func, JSONField, Q, TextField, Value
from django.db.models.functions import Cast

from chat.errors import InvalidInput

COMPARISONS = ("eq", "ne", "gt", "gte", "lt", "lte", "in", "nin")
MAX_DEPTH, MAX_PARTS, MAX_VALUES, MAX_KEY_LENGTH = 8, 100, 100, 64
_SIMPLE = (str, bool, int, float)
_SIGNS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def build_condition(value: Any) -> Q:
    """Convert a filter (comparisons joined by "and" and "or") to a condition on StoreFile.

    Raises:
        InvalidInput: the filter is invalid; `param` is the path of the invalid part.
    """
    return _parse_condition(value, "filters", depth=0)


def _parse_condition(value: Any, param: str, *, depth: int) -> Q:
    if not isinstance(value, dict):
        raise InvalidInput("A filter must be an object.", param=param)
    kind = value.get("type")
    if kind in ("and", "or"):
        return _parse_compound(value, str(kind), param, depth=depth)
    if kind not in COMPARISONS:
        offered = ", ".join(("and", "or", *COMPARISONS))
        raise InvalidInput(f"The type of a filter must be one of {offered}.", param=f"{param}.type")
    _reject_unknown_keys(value, ("type", "key", "value"), param)
    key = value.get("key")
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY_LENGTH:
        raise InvalidInput("Expected the name of an attribute.", param=f"{param}.key")
    return _parse_comparison(str(kind), key, value.get("value"), f"{param}.value")


def _parse_compound(value: dict[str, Any], kind: str, param: str, *, depth: int) -> Q:
    _reject_unknown_keys(value, ("type", "filters"), param)
    parts = value.get("filters")
    if not isinstance(parts, list) or not 0 < len(parts) <= MAX_PARTS:
        raise InvalidInput(f"Expected 1 to {MAX_PARTS} filters.", param=f"{param}.filters")
    if depth >= MAX_DEPTH:
        raise InvalidInput("The filters are nested too deeply.", param=param)
    joined = Q()
    for index, part in enumerate(parts):
        inner = _parse_condition(part, f"{param}.filters[{index}]", depth=depth + 1)
        joined = joined & inner if kind == "and" else joined | inner
    return joined


def _parse_comparison(kind: str, key: str, value: Any, param: str) -> Q:
    if kind in ("in", "nin"):
        if not isinstance(value, list) or not 0 < len(value) <= MAX_VALUES:
            raise InvalidInput(f"Expected a list of 1 to {MAX_VALUES} values.", param=param)
        matches = Q()
        for item in value:
            matches |= _build_comparison(key, "==", _validate_value(item, param))
        return matches if kind == "in" else ~matches
    value = _validate_value(value, param)
    if kind in ("eq", "ne"):
        return (
            _build_comparison(key, "==", value)
            if kind == "eq"
            else ~_build_comparison(key, "==", value)
        )
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput("Expected a number.", param=param)
    return _build_comparison(key, _SIGNS[kind], value)


class _PathExists(Func):
    function = "jsonb_path_exists"
    output_field = BooleanField()


def _build_comparison(key: str, sign: str, value: str | bool | float) -> Q:
    """Return the condition of one comparison; attributes of another type never match."""
    path = f"$.{json.dumps(key)} ? (@ {sign} $value)"
    given = Cast(Value(json.dumps({"value": value})), JSONField())
    # Path and value are query parameters, so an attribute name never becomes a lookup or SQL.
    return Q(_PathExists(F("attributes"), Cast(Value(path), _JsonPath()), given))


class _JsonPath(TextField):  # type: ignore[type-arg]
    def db_type(self, connection: Any) -> str:
        return "jsonpath"


def _validate_value(value: Any, param: str) -> Any:
    if not isinstance(value, _SIMPLE):
        raise InvalidInput("Expected a text, a number, true or false.", param=param)
    return value


def _reject_unknown_keys(value: dict[str, Any], names: tuple[str, ...], param: str) -> None:
    unknown = sorted(set(value) - set(names))
    if unknown:
        name = f"{param}.{unknown[0]}"
        raise InvalidInput(f"Unknown parameter: '{name}'.", param=name)
