"""Extraction of a tool's arguments from a person's text, based on the JSON schema alone."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

ANY_CASE = re.IGNORECASE
NUMBER = re.compile(r"(?<![\w.])#?(-?\d{1,15}(?:\.\d{1,6})?)(?![\w])")
QUOTED = re.compile(r"[\"“”«»](?P<value>[^\"“”«»]{1,2000})[\"“”«»]")
EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
CODE = re.compile(r"\b(?=\w*\d)(?=\w*[A-Za-z])[A-Za-z0-9][\w-]{2,}\b|\b[A-Za-z]+-\d+\b")
COUNT = re.compile(r"\b(?:last|first|latest|newest|top|limit)\s+(\d{1,4})\b", ANY_CASE)
TO_VALUE = re.compile(
    r"\bto\s*:?\s+(?P<value>(?:(?!\bto\s).)+?)"
    r"(?:\s+(?:for|of|on|in)\s+(?:my\s+|the\s+|our\s+)?[a-z]+\s+(?:number\s+|no\.?\s*)?#?\d+)?"
    r"(?:[\s,]*(?:instead|please|now|thanks|thank you))*[\s.!?]*$",
    ANY_CASE | re.DOTALL,
)
ABOUT = re.compile(
    r"\b(?:about|for|regarding|saying|named|called)\s+(?P<value>.+?)[\s.!?]*$", ANY_CASE
)
FILLERS = re.compile(r"^(?:(?:it|that|is|to|the new one|should be|please|at)\b[\s:,]*)+", ANY_CASE)
ARTICLE = re.compile(r"^(?:the|a|an|my|our)\s+(?=\S)", ANY_CASE)
QUERY_NAMES = {
    *("query", "search", "text", "question", "topic", "words", "keywords", "phrase", "term")
}
CODE_NAMES = {"id", "code", "reference", "number", "sku", "tracking"}
COUNT_NAMES = {"limit", "count", "top", "max", "first", "last", "size"}
POINTING = re.compile(r"\b(?:it|that|this|them|those|same|one)\b", ANY_CASE)


@dataclass(kw_only=True)
class FilledArguments:
    """The filled `arguments`, the `missing` required names, and the confidence."""

    arguments: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    several: list[int | float] = field(default_factory=list)
    """All numbers of a list such as "orders 7, 8 and 9", where one number was asked for."""


def fill(
    parameters: dict[str, Any],
    text: str,
    *,
    reply: str | None = None,
    earlier: dict[str, Any] | None = None,
    verbs: frozenset[str] = frozenset(),
) -> FilledArguments:
    """Fill the arguments that `text` provides.

    `reply` is the answer to our own question. `earlier` are the arguments of earlier calls in the
    thread, used if the text refers back ("cancel it"). A value that begins with one of `verbs` is a
    request, not a value ("I want to change ...").
    """
    properties: dict[str, Any] = parameters.get("properties") or {}
    required = set(parameters.get("required") or ())
    found = FilledArguments()
    rest = text if reply is None else f"{text}\n{reply}"
    order = sorted(properties, key=lambda name: _is_number(_schema(properties[name])))
    for name in order:
        schema = _schema(properties[name])
        value, used = _value(name, schema, rest, reply, name in required, verbs)
        if value is None:
            continue
        found.arguments[name] = value
        if used:
            rest = rest.replace(used, " ", 1)
        if _is_number(schema):
            found.several = _find_numbers(name, rest if used is None else text, schema)
    if earlier and POINTING.search(text):
        for name in required - set(found.arguments):
            if name in earlier:
                found.arguments[name] = earlier[name]
    found.missing = [name for name in properties if name in required - set(found.arguments)]
    if reply is not None and len(found.missing) == 1:
        _take_reply(found, properties, reply)
    return found


def split_identifier(name: str) -> list[str]:
    """Return the words of an identifier, orderNumber and order_number alike."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[\W_]+", spaced.lower()) if word]


def _schema(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, dict):
        return {}
    for variant in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        if isinstance(variant, dict) and variant.get("type") != "null":
            return {**schema, **variant}
    kind = schema.get("type")
    if isinstance(kind, list):
        return {**schema, "type": next((k for k in kind if k != "null"), "string")}
    return schema


def _is_number(schema: dict[str, Any]) -> bool:
    return schema.get("type") in ("integer", "number")


def _value(
    name: str,
    schema: dict[str, Any],
    text: str,
    reply: str | None,
    required: bool,
    verbs: frozenset[str],
) -> tuple[Any, str | None]:
    """Return (value, the part of the text it used)."""
    if isinstance(schema.get("enum"), list):
        return _choice(schema["enum"], text), None
    match schema.get("type"):
        case "integer" | "number":
            return _number(name, schema, text, required), None
        case "boolean":
            named = set(split_identifier(name)) <= set(split_identifier(text))
            return (True, None) if named else (None, None)
        case "array":
            return _list(name, schema, text, required), None
        case "string" | None:
            return _string(name, schema, text, reply, required, verbs)
    return None, None


def _choice(options: list[Any], text: str) -> Any:
    said = f" {' '.join(split_identifier(text))} "
    for option in options:
        words = " ".join(split_identifier(str(option)))
        if words and (f" {words} " in said or f" {words.replace('ll', 'l')} " in said):
            return option
    return None


def _fits(schema: dict[str, Any], value: float) -> bool:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    return not ((low is not None and value < low) or (high is not None and value > high))


def _as_number(schema: dict[str, Any], text: str) -> int | float | None:
    whole = schema.get("type") == "integer"
    if whole and "." in text:
        return None
    value = int(text) if whole else float(text)
    return value if _fits(schema, value) else None


def _number(name: str, schema: dict[str, Any], text: str, required: bool) -> int | float | None:
    words = split_identifier(name)
    if COUNT_NAMES & set(words):
        counted = COUNT.search(text)
        return _as_number(schema, counted.group(1)) if counted else None
    for word in words:
        beside = re.search(
            rf"\b{re.escape(word)}s?\b[\s:#]*(?:is|number|no\.?|nr\.?|id)?[\s:#]*"
            r"(-?\d{1,15}(?:\.\d+)?)\b",
            text,
            ANY_CASE,
        )
        if beside and (value := _as_number(schema, beside.group(1))) is not None:
            return value
    if not required:
        return None
    # A plain number is enough; one that begins a capitalised phrase is more likely a house number.
    for found in NUMBER.finditer(COUNT.sub(" ", text)):
        if re.match(r"\s+[A-Z][a-z]+", found.string[found.end() :]):
            continue
        if (value := _as_number(schema, found.group(1))) is not None:
            return value
    return None


def _find_numbers(name: str, text: str, schema: dict[str, Any]) -> list[int | float]:
    for word in split_identifier(name):
        numbers = r"\s+((?:#?\d{1,15}(?:\s*(?:,|and|&|or)\s*)*)+)"
        run = re.search(rf"\b{re.escape(word)}s?{numbers}", text, ANY_CASE)
        if run:
            values = (_as_number(schema, n) for n in re.findall(r"\d+", run.group(1)))
            return list(dict.fromkeys(v for v in values if v is not None))
    return []


def _list(name: str, schema: dict[str, Any], text: str, required: bool) -> list[Any] | None:
    items = _schema(schema.get("items"))
    if _is_number(items):
        values = [_as_number(items, match.group(1)) for match in NUMBER.finditer(text)]
        numbers = [value for value in values if value is not None]
        return numbers if numbers and required else None
    if isinstance(items.get("enum"), list):
        chosen = [option for option in items["enum"] if _choice([option], text) is not None]
        return chosen or None
    quoted = [match.group("value") for match in QUOTED.finditer(text)]
    return quoted or None


def _string(
    name: str,
    schema: dict[str, Any],
    text: str,
    reply: str | None,
    required: bool,
    verbs: frozenset[str],
) -> tuple[str | None, str | None]:
    words = set(split_identifier(name))
    for wanted, pattern in (
        ("email" in words or schema.get("format") == "email", EMAIL),
        (schema.get("format") == "date" or "date" in words, DATE),
        (bool(schema.get("pattern")), re.compile(_pattern(schema))),
        (bool(words & CODE_NAMES), CODE),
    ):
        if wanted:
            found = pattern.search(text)
            return (found.group(), found.group()) if found else (None, None)
    if quoted := QUOTED.search(text):
        return quoted.group("value").strip(), quoted.group()
    if words & QUERY_NAMES:
        return (_query(text) if required else None), None
    for word in split_identifier(name):
        beside = re.search(rf"\b{re.escape(word)}\s*(?:is|:|=)\s*(?P<value>[^\n]+)", text, ANY_CASE)
        if beside:
            value = beside.group("value").strip(" .!?")
            return value, beside.group("value")
    if not required or reply is not None:
        return None, None
    return _after_to(text, verbs)


def _pattern(schema: dict[str, Any]) -> str:
    pattern = str(schema.get("pattern") or "$^").removeprefix("^").removesuffix("$")
    try:
        re.compile(pattern)
    except re.error:
        return "$^"
    return rf"(?<!\w)(?:{pattern})(?!\w)"


def _after_to(text: str, verbs: frozenset[str]) -> tuple[str | None, str | None]:
    found = TO_VALUE.search(text)
    if not found:
        return None, None
    value = found.group("value").strip(" .!?,;")
    first = split_identifier(value)[:1]
    if not first or first[0] in verbs or NUMBER.fullmatch(value):
        return None, None
    return value, found.group("value")


def _query(text: str) -> str:
    found = ABOUT.search(text)
    wanted = (found.group("value") if found else text).strip(" .!?")
    return ARTICLE.sub("", wanted)[:500]


def _take_reply(found: FilledArguments, properties: dict[str, Any], reply: str) -> None:
    """Use the whole reply for the one argument that we asked for."""
    name = found.missing[0]
    schema = _schema(properties[name])
    value = _after_to(reply, frozenset())[0] or FILLERS.sub("", reply.strip()).strip(" .!?")
    if schema.get("type", "string") == "string" and "enum" not in schema and value:
        found.arguments[name] = value
        found.missing = []
