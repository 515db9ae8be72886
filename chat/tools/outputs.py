"""Tool outputs sent to the model: results as text, and predefined error messages."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from django.utils.functional import Promise

from chat.conf import conf
from chat.tools.base import ToolError

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_MAX_SENTENCE_LENGTH = 2000
_CUT_MARK = "\n[truncated: the whole output has {size} bytes]"

# Error code to message for the model. Codes are stable; admins see them in the trace.
SENTENCES = {
    "access_ended": "The call is refused: the person's access has ended.",
    "approval_void": "The call is refused: the tool has changed since it was approved.",
    "binary_output": "The tool returned binary data, which cannot be shown here.",
    "cancelled": "The call was stopped before it ended.",
    "declined": "The person declined this call. Nothing was changed. Do not try it again unasked.",
    "invalid_arguments": "The arguments are longer than a call may have, or cannot be stored.",
    "duplicate_call": "The same call was made twice in one answer: see the result of the first.",
    "outcome_unknown": (
        "The call was interrupted and it is unknown whether it took effect. "
        "Say so, and do not repeat it without being asked."
    ),
    "timeout": "The tool took too long and was stopped.",
    "tool_changed": "The tool was changed while the call was under way; it did not run.",
    "tool_failed": "The tool did not work this time.",
    "unknown_tool": "There is no tool of this name here.",
}


def build_error_output(code: str, message: str | None = None) -> str:
    """Return the JSON output of a call that failed or was refused."""
    text = SENTENCES[code] if message is None else _clean(message)[:_MAX_SENTENCE_LENGTH]
    return json.dumps({"error": {"code": code, "message": text}}, ensure_ascii=False)


def build_output_text(result: Any, *, untrusted: bool = False) -> str:
    """Convert a tool's result to the text sent to the model.

    Strings are kept, everything else becomes JSON. Control characters are removed, and long
    texts are truncated with a mark.

    Raises:
        ToolError: "binary_output": the result contains bytes.
        TypeError: the result cannot be converted to JSON, which is a bug in the tool.
    """
    if untrusted:
        result = {"untrusted_content": result}
    plain = _to_json(result)
    text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    return _cut(text)


def _to_json(value: Any) -> Any:
    if isinstance(value, str | Promise):
        return _clean(str(value))
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, bytes | bytearray | memoryview):
        raise ToolError("binary_output", SENTENCES["binary_output"])
    if isinstance(value, Enum):
        return _to_json(value.value)
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, dict):
        return {_clean(str(key)): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_to_json(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            each.name: _to_json(getattr(value, each.name)) for each in dataclasses.fields(value)
        }
    raise TypeError(f"A tool cannot return {type(value).__name__}.")


def _clean(text: str) -> str:
    whole = text.encode("utf-8", "replace").decode()  # replaces lone surrogates
    return _CONTROL.sub("", whole)


def _cut(text: str) -> str:
    data = text.encode()
    most = conf.tool_output_bytes
    if len(data) <= most:
        return text
    mark = _CUT_MARK.format(size=len(data))
    return data[: most - len(mark.encode())].decode("utf-8", "ignore") + mark
