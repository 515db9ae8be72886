"""Websocket frames a browser may send, and their strict validation (docs/websocket.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chat.conf import conf
from chat.errors import ChatError, InvalidInput
from chat.ids import is_id
from chat.json_input import parse_json_object
from chat.models.assistants import BusyPolicy
from chat.runs.events import Cursor

Check = Callable[[Any, str], Any]
MAX_ITEMS = 100


def parse_frame(text: str | None) -> dict[str, Any]:
    """Return a validated frame: a known type with exactly its fields, each of the right form.

    Raises:
        InvalidJson: the text is not a valid JSON object, or exceeds a limit.
        InvalidInput: the type is unknown or a field is invalid; names the field. In both cases the
            socket stays open.
    """
    if text is None:
        raise InvalidInput("Frames must be text.", param="type")
    frame = parse_json_object(text, max_bytes=conf.frame_bytes)
    kind = frame.get("type")
    if not isinstance(kind, str) or kind not in FRAMES:
        raise InvalidInput(f"Unknown frame type. Known types: {', '.join(FRAMES)}.", param="type")
    del frame["type"]
    return {"type": kind, **check_fields(frame, FRAMES[kind])}


def check_fields(values: dict[str, Any], fields: dict[str, Check]) -> dict[str, Any]:
    """Return exactly `fields`, each validated.

    Raises:
        InvalidInput: a field is unknown or invalid; names the field.
    """
    for name in values:
        if name not in fields:
            raise InvalidInput(f"Unknown field '{name}'.", param=name)
    return {name: check(values.get(name), name) for name, check in fields.items()}


def parse_request_id(text: str | None) -> str | None:
    """Return the id of a rejected frame, or None if it cannot be read."""
    try:
        value = parse_json_object(text or "", max_bytes=conf.frame_bytes).get("id")
    except ChatError:
        return None
    return value if isinstance(value, str) and len(value) <= 64 else None


def require_short_text(value: Any, name: str) -> str:
    """Require text of 1 to 64 characters."""
    if not isinstance(value, str) or not 1 <= len(value) <= 64:
        raise InvalidInput(f"'{name}' must be text of 1 to 64 characters.", param=name)
    return value


def require_id(prefix: str) -> Check:
    """Return a check that requires an id with `prefix`."""

    def check(value: Any, name: str) -> str:
        if not is_id(value, prefix):
            raise InvalidInput(f"'{name}' must be an id that begins with '{prefix}'.", param=name)
        return str(value)

    return check


def allow_null(check: Check) -> Check:
    """Return a check that also allows null or a missing field."""

    def check_optional(value: Any, name: str) -> Any:
        return None if value is None else check(value, name)

    return check_optional


def require_value(value: Any, name: str) -> Any:
    """Require a value; the action validates its form."""
    if value is None:
        raise InvalidInput(f"'{name}' is missing.", param=name)
    return value


def require_choice(*choices: str) -> Check:
    """Return a check that requires one of `choices`."""

    def check(value: Any, name: str) -> str:
        if not isinstance(value, str) or value not in choices:
            raise InvalidInput(f"'{name}' must be one of {', '.join(choices)}.", param=name)
        return value

    return check


def require_cursor(value: Any, name: str) -> Cursor:
    """Require {"run", "state", "items": [[item id, part, field, offset], …]}."""
    if not isinstance(value, dict) or set(value) != {"run", "state", "items"}:
        raise InvalidInput("A cursor must have run, state and items.", param=name)
    items = value["items"]
    if not isinstance(items, list) or len(items) > MAX_ITEMS:
        raise InvalidInput(f"A cursor must have at most {MAX_ITEMS} items.", param=name)
    return Cursor(
        run=require_id("run_")(value["run"], name),
        state=_parse_count(value["state"], name),
        offsets=dict(_parse_offset(item, name) for item in items),
    )


def _parse_offset(item: Any, name: str) -> tuple[str, int]:
    if not isinstance(item, list) or len(item) != 4 or item[1:3] != [0, "text"]:
        raise InvalidInput("A cursor item must be [message id, 0, 'text', offset].", param=name)
    return require_id("msg_")(item[0], name), _parse_count(item[3], name)


def _parse_count(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise InvalidInput(f"'{name}' must be a non-negative integer.", param=name)
    return value


_THREAD, _RUN = require_id("thread_"), require_id("run_")

MESSAGE_FIELDS: dict[str, Check] = {
    "thread": allow_null(_THREAD),
    "client_id": require_short_text,
    "assistant": require_id("asst_"),
    "content": require_value,
    "attachments": allow_null(require_value),
    "busy": allow_null(require_choice(*BusyPolicy.values)),
}

FRAMES: dict[str, dict[str, Check]] = {
    "subscribe": {
        "id": require_short_text,
        "thread": _THREAD,
        "cursor": allow_null(require_cursor),
    },
    "unsubscribe": {"id": require_short_text, "thread": _THREAD},
    "message.create": {"id": require_short_text, **MESSAGE_FIELDS},
    "message.delete_queued": {"id": require_short_text, "message": require_id("msg_")},
    "run.cancel": {"id": require_short_text, "run": _RUN},
    "run.retry": {
        "id": require_short_text,
        "thread": _THREAD,
        "assistant": allow_null(require_id("asst_")),
    },
    "tool.decide": {
        "id": require_short_text,
        "run": _RUN,
        "call": require_id("call_"),
        "decision": require_choice("approve", "decline"),
        "arguments_hash": require_short_text,
    },
    "ping": {"id": require_short_text},
}
