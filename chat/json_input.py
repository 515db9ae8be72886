"""Strict parsing of untrusted JSON: rejects input that PostgreSQL or Python cannot handle."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from django.http import HttpRequest

from chat.errors import InvalidJson, WrongMediaType
from chat.storable_text import is_storable

MAX_DEPTH = 32
MAX_BRACKETS = 100_000  # an empty list takes 28 times the memory of its two bytes
MAX_KEYS, MAX_VALUES = 50_000, 200_000  # each takes about a microsecond
_MAX_INTEGER = 2**63 - 1
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)  # may be unterminated
_BRACKET = re.compile(r"[\[\]{}]")


def parse_json_object(
    raw: bytes | str, *, max_bytes: int, max_depth: int = MAX_DEPTH
) -> dict[str, Any]:
    """Return the JSON object in `raw`, e.g. a request body, a frame or a tool's arguments.

    Raises:
        InvalidJson: `raw` is not a JSON object; it contains duplicate keys, NaN, infinities,
            numbers beyond 64 bits or the range of floats, NUL, lone surrogates or invalid
            UTF-8; or it exceeds a limit of bytes, depth, brackets, keys or values.
    """
    text = _decode(raw, max_bytes)
    if _measure_depth(text) > max_depth:
        raise InvalidJson(f"This JSON is nested deeper than {max_depth} levels.")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_build_object,
            parse_int=_parse_integer,
            parse_float=_parse_number,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        raise InvalidJson(
            f"This is not well-formed JSON: {error.msg} at character {error.pos}."
        ) from None
    if not isinstance(value, dict):
        raise InvalidJson("Expected a JSON object.")
    _refuse_unusable_text(value)
    return value


def parse_json_body(request: HttpRequest, *, max_bytes: int) -> dict[str, Any]:
    """Return the JSON object in a request body; an empty body is an empty object.

    Raises:
        WrongMediaType: the body is not declared as JSON in UTF-8.
        InvalidJson: the body is not an acceptable JSON object, see `parse_json_object`.
    """
    charset = (request.content_params or {}).get("charset", "utf-8")
    if request.body and (request.content_type, charset.lower()) != ("application/json", "utf-8"):
        # Forms of other sites can send any text, but not this media type without a CORS preflight.
        raise WrongMediaType()
    return parse_json_object(request.body or b"{}", max_bytes=max_bytes)


def _decode(raw: bytes | str, max_bytes: int) -> str:
    try:
        data = raw.encode() if isinstance(raw, str) else raw
        if len(data) > max_bytes:
            raise InvalidJson(f"This is longer than {max_bytes} bytes.")
        return data.decode()
    except UnicodeError:
        raise InvalidJson("This is not valid UTF-8.") from None


def _measure_depth(text: str) -> int:
    # Counted before parsing: the parser is recursive, and deep nesting would exhaust its stack.
    bare = _STRING.sub("", text)
    if bare.count(":") > MAX_KEYS:
        raise InvalidJson(f"This JSON has more than {MAX_KEYS:,} keys.")
    if bare.count(",") > MAX_VALUES:
        raise InvalidJson(f"This JSON has more than {MAX_VALUES:,} values.")
    depth = deepest = 0
    for number, bracket in enumerate(_BRACKET.finditer(bare), start=1):
        if number > MAX_BRACKETS:
            raise InvalidJson(f"This JSON has more than {MAX_BRACKETS:,} brackets.")
        depth += 1 if bracket[0] in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise InvalidJson("An object contains the same key twice.")
    return value


def _parse_integer(digits: str) -> int:
    if len(digits) > 20 or abs(value := int(digits)) > _MAX_INTEGER:
        raise InvalidJson("An integer is too large.")
    return value


def _parse_number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise InvalidJson("A number is too large.")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidJson(f"{name} is not a JSON value.")


def _refuse_unusable_text(value: object) -> None:
    if isinstance(value, str):
        if not is_storable(value):
            raise InvalidJson("A string contains a NUL character or a lone surrogate.")
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_unusable_text(key)
            _refuse_unusable_text(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_unusable_text(item)
