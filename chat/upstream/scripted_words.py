"""Text for a tool's output: sentences for one object, a table for a list."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from chat.upstream.scripted_arguments import split_identifier

MAX_ROWS = 50
MAX_COLUMNS = 6
MAX_DEPTH = 4
STATUS = ("status", "state")
NAMING = ("name", "title", "label", "product", "description", "sku", "id")
AMOUNT = ("quantity", "qty", "count")
DONE_VERBS = {"update", "change", "set", "edit", "cancel", "delete", "remove", "create", "add"}
IDENTIFIER = re.compile(r"[a-z]+(?:_[a-z]+)+")
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
ISO_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}")
DECLINED = re.compile(r"declin|denied|rejected|not[_ ]approved|disapprov", re.IGNORECASE)
UNKNOWN = re.compile(r"outcome[_ ]unknown", re.IGNORECASE)
EXPIRED = re.compile(r"expired", re.IGNORECASE)
PASSING = {"timeout", "tool_failed", "cancelled"}
MISSING = re.compile(r"not[_ ]found|no such|does not exist|unknown", re.IGNORECASE)


def describe_output(tool: str, output: str) -> str:
    """Return Markdown for a person, from the exact text a tool gave to the model."""
    try:
        value = json.loads(output)
    except (ValueError, RecursionError):
        value = output
        if output.lstrip().startswith(("{", "[")):
            return "The answer is too long to show here. Could you ask for less at once?"
    if (problem := _problem(value)) is not None:
        return _apologise(tool, *problem)
    words = split_identifier(tool)
    noun = " ".join(words[1:]) or "result"
    if isinstance(value, dict):
        noun, value, notes = _unwrap(noun, value)
    else:
        notes = {}
    if isinstance(value, list):
        return _list(noun, value, notes)
    if isinstance(value, dict):
        done = "Done. " if words and words[0] in DONE_VERBS else ""
        return done + _object(noun, value)
    return _plain(value) if value not in (None, "", True) else "That is done."


def parse_output(output: str | None) -> dict[str, Any]:
    """Return a tool's output as an object, or {} if it is not a readable one."""
    try:
        value = json.loads(output or "")
    except (ValueError, RecursionError):
        return {}
    inside = value.get("untrusted_content", value) if isinstance(value, dict) else {}
    return inside if isinstance(inside, dict) else {}


def is_problem(output: str) -> bool:
    """Return True if a tool's output reports a failure."""
    try:
        return _problem(json.loads(output)) is not None
    except (ValueError, RecursionError):
        return False


def humanise(name: str) -> str:
    """Return an identifier such as "get_order" in spoken form."""
    verb, *rest = split_identifier(name) or ["do it"]
    if rest == ["thread"]:
        return f"{verb} this chat"
    first = {"get": "look up", "list": "list"}.get(verb, verb)
    plural = bool(rest) and rest[-1].endswith("s") and not rest[-1].endswith("ss")
    article = "" if not rest else ("your " if plural else _article(rest[0]))
    return f"{first} {article}{' '.join(rest)}".strip()


def join_words(parts: list[str]) -> str:
    """Return the parts as "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _article(word: str) -> str:
    return "an " if word[:1] in "aeiou" else "a "


def _problem(value: Any) -> tuple[str, str] | None:
    """Return (code, message) if the output reports a failure."""
    if isinstance(value, dict):
        error = value.get("error")
        if isinstance(error, dict):
            return str(error.get("code") or ""), str(error.get("message") or "")
        if isinstance(error, str) and error:
            return str(value.get("code") or ""), str(value.get("message") or error)
        decision = str(value.get("decision") or value.get("approval") or "")
        if DECLINED.search(decision):
            return "declined", ""
    if isinstance(value, str) and re.match(r"\s*(?:error|tool error)\b", value, re.IGNORECASE):
        return "", value
    return None


def _apologise(tool: str, code: str, message: str) -> str:
    wish = humanise(tool) if tool else "do that"
    problem = f"{code} {message}"
    if DECLINED.search(problem):
        return "You declined, so nothing was changed."
    if UNKNOWN.search(problem):
        return (
            f"I tried to {wish}, but I cannot tell whether it took effect. "
            "Please check before trying again."
        )
    if EXPIRED.search(problem):
        return "The time to approve this ran out, so nothing was changed."
    detail = _escape(message).rstrip(".")
    if code in PASSING or not detail:
        return f"Sorry, I could not {wish} just now. Please try again in a moment."
    if MISSING.search(problem):
        return f"{detail[0].upper()}{detail[1:]}. Please check what you wrote and try again."
    return f"Sorry, that did not work. {detail[0].upper()}{detail[1:]}."


def _unwrap(noun: str, value: dict[str, Any]) -> tuple[str, Any, dict[str, Any]]:
    """Unwrap {"order": {...}} and {"orders": [...], "has_more": true}."""
    if set(value) == {"untrusted_content"}:
        inside = value["untrusted_content"]
        return _unwrap(noun, inside) if isinstance(inside, dict) else (noun, inside, {})
    inner = [k for k, v in value.items() if isinstance(v, (dict, list))]
    if len(value) == 1 and inner:
        return " ".join(split_identifier(inner[0])), value[inner[0]], {}
    lists = [k for k in inner if isinstance(value[k], list)]
    scalars = {k: v for k, v in value.items() if k not in inner}
    marks = {"has_more", "total", "count", "next", "more", "object", "truncated"}
    if len(inner) == len(lists) == 1 and set(scalars) <= marks:
        return " ".join(split_identifier(lists[0])), value[lists[0]], scalars
    return noun, value, {}


def _object(noun: str, value: dict[str, Any]) -> str:
    singular = noun.removesuffix("s") if not noun.endswith("ss") else noun
    key, name = _identity(value, singular)
    subject = (
        f"{split_identifier(key)[0].capitalize()} **{name}**" if key else "Here is what I found"
    )
    if key and (key in NAMING):
        subject = f"**{name}**"
    status = next((k for k in STATUS if isinstance(value.get(k), str)), None)
    lead = f"{subject} is **{_speak_status(value[status])}**." if status else f"{subject}:"
    skipped = {key, status, "object", "currency" if _has_money(value) else None}
    lines = [
        f"- **{_label(k)}:** {_inline(v, value.get('currency') if _is_money(k) else None)}"
        for k, v in value.items()
        if k not in skipped and v not in (None, "", [], {})
    ]
    return lead + ("\n\n" + "\n".join(lines) if lines else "")


def _identity(value: dict[str, Any], singular: str) -> tuple[str | None, str]:
    named = [
        k
        for k in value
        if k not in STATUS
        and split_identifier(k)[-1:] in (["number"], ["id"], ["reference"], ["code"])
    ]
    mine = [
        k
        for k in named
        if set(split_identifier(k)) & set(split_identifier(singular))
        and len(split_identifier(k)) > 1
    ]
    mine = mine or [k for k in named if len(split_identifier(k)) > 1][:1]
    for key in (*mine, *(k for k in NAMING if k in value), *(k for k in ("number",) if k in value)):
        if isinstance(value[key], (str, int)):
            return key, _plain(value[key])
    return None, ""


def _list(noun: str, values: list[Any], notes: dict[str, Any]) -> str:
    plural = noun if noun.endswith("s") else f"{noun}s"
    if not values:
        return f"I found no {plural}."
    count = f"{len(values)} {plural}" if len(values) != 1 else f"one {plural[:-1]}"
    lead = f"I found {count}:"
    shown = values[:MAX_ROWS]
    if all(isinstance(value, dict) for value in shown):
        body = _table(shown)
    else:
        body = "\n".join(f"- {_inline(value, None)}" for value in shown)
    more = len(values) > MAX_ROWS or notes.get("has_more") or notes.get("truncated")
    return f"{lead}\n\n{body}" + (f"\n\nThere are more {plural} than shown here." if more else "")


def _table(rows: list[dict[str, Any]]) -> str:
    keys = list(dict.fromkeys(k for row in rows for k in row if k != "object"))
    if any(_has_money(row) for row in rows):
        keys = [k for k in keys if k != "currency"]
    keys = [k for k in keys if any(row.get(k) not in (None, "", [], {}) for row in rows)]
    # Nested values are long and go last, since the end is cut first.
    keys.sort(key=lambda k: isinstance(rows[0].get(k), (list, dict)))
    keys = keys[:MAX_COLUMNS]
    head = "| " + " | ".join(_label(k) for k in keys) + " |"
    rule = "| " + " | ".join("---" for _ in keys) + " |"
    body = [
        "| "
        + " | ".join(
            _inline(row.get(k), row.get("currency") if _is_money(k) else None) for k in keys
        )
        + " |"
        for row in rows
    ]
    return "\n".join((head, rule, *body))


def _label(key: str) -> str:
    words = split_identifier(key)
    if len(words) > 1 and words[-1] in ("at", "on"):
        words = words[:-1]
    return " ".join(words).capitalize()


def _inline(value: Any, currency: Any, depth: int = 0) -> str:
    """Return a value on one line."""
    if depth > MAX_DEPTH:
        return "…"
    if isinstance(value, dict):
        return _inline_object(value, depth)
    if isinstance(value, list):
        return "; ".join(_inline(v, None, depth + 1) for v in value[:MAX_ROWS]) or "none"
    said = _plain(value)
    return f"{said} {_plain(currency)}" if currency and said else said


def _inline_object(value: dict[str, Any], depth: int) -> str:
    amount = next((k for k in AMOUNT if isinstance(value.get(k), (int, float))), None)
    name = next((k for k in NAMING if isinstance(value.get(k), (str, int))), None)
    if name is not None:
        said = _plain(value[name])
        return f"{_plain(value[amount])} \u00d7 {said}" if amount else said
    if set(value) == {"amount", "currency"}:
        return f"{_plain(value['amount'])} {_plain(value['currency'])}"
    return ", ".join(
        f"{_label(k).lower()} {_inline(v, None, depth + 1)}"
        for k, v in value.items()
        if v not in (None, "", [], {})
    )


def _plain(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case str():
            spoken = " ".join(value.split("_")) if IDENTIFIER.fullmatch(value) else value
            return _escape(_format_dates(spoken.strip()))
    return str(value)


def _format_dates(text: str) -> str:
    """Return ISO dates in the usual written form."""
    try:
        if ISO_DATE.fullmatch(text):
            return _format_day(date.fromisoformat(text))
        if ISO_MOMENT.match(text):
            moment = datetime.fromisoformat(text)
            return f"{_format_day(moment.date())}, {moment:%H:%M}"
    except ValueError:
        pass
    return text


def _format_day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _escape(text: str) -> str:
    return re.sub(r"([|<*\[\]`\\])", r"\\\1", " ".join(text.split()))


def _speak_status(status: str) -> str:
    return _escape(" ".join(split_identifier(status)))


def _is_money(key: str) -> bool:
    return bool({"total", "price", "amount", "cost", "subtotal"} & set(split_identifier(key)))


def _has_money(value: dict[str, Any]) -> bool:
    return "currency" in value and any(_is_money(k) for k in value)


def estimate_tokens(texts: Iterable[str]) -> int:
    """Return the estimated number of tokens: about four characters each, as usual for English."""
    return sum(-(-len(text) // 4) for text in texts)
