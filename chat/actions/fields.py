"""Validators for single values, shared by all actions."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from chat import ids
from chat.errors import InvalidInput, InvalidType, NotFound, UnknownParameter
from chat.storable_text import is_storable

Row = TypeVar("Row")

MAX_PAIRS, MAX_KEY, MAX_VALUE = 16, 64, 512  # of metadata


def clean_text(value: Any, *, param: str, limit: int, required: bool = False) -> str:
    """Return `value` unchanged if it is valid text.

    Raises:
        InvalidInput: `value` is not a string, is longer than `limit` characters,
            contains NUL or lone surrogates, or is blank although `required`.
    """
    if not isinstance(value, str):
        raise InvalidType(_("Must be a string."), param=param)
    if not is_storable(value):
        raise InvalidInput(_("This contains characters that are not allowed."), param=param)
    if len(value) > limit:
        raise InvalidInput(
            _("Must have at most {limit} characters.").format(limit=limit), param=param
        )
    if required and not value.strip():
        raise InvalidInput(_("This field is required."), param=param)
    return value


def clean_boolean(value: Any, *, param: str) -> bool:
    """Return `value` if it is a boolean, else raise InvalidInput."""
    if not isinstance(value, bool):
        raise InvalidInput(_("Must be a boolean."), param=param)
    return value


def clean_number(value: Any, *, param: str, least: float, most: float) -> float | None:
    """Return `value` as a float if it is from `least` to `most`; None stays None.

    Raises:
        InvalidInput: `value` is not a finite number or is out of range.
    """
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not least <= value <= most:
        raise InvalidInput(
            _("Must be a number from {least} to {most}.").format(least=least, most=most),
            param=param,
        )
    return float(value)


def clean_integer(value: Any, *, param: str, least: int, most: int) -> int:
    """Return `value` if it is an integer from `least` to `most`, else raise InvalidInput."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidType(_("Must be an integer."), param=param)
    if not least <= value <= most:
        raise InvalidInput(
            _("Must be an integer from {least} to {most}.").format(least=least, most=most),
            param=param,
        )
    return value


def clean_choice(value: Any, *, param: str, choices: tuple[str, ...]) -> str:
    """Return `value` if it is one of `choices`, else raise InvalidInput."""
    if not isinstance(value, str) or value not in choices:
        raise InvalidInput(_("Select a valid choice."), param=param)
    return value


def clean_object(
    value: Any, *, param: str, allowed: tuple[str, ...] | None = None
) -> dict[str, Any]:
    """Return `value` if it is an object that has only `allowed` fields.

    Raises:
        InvalidType: `value` is not an object.
        UnknownParameter: a field is not in `allowed`.
    """
    if not isinstance(value, dict):
        raise InvalidType(_("Expected an object."), param=param)
    for name in value:
        if allowed is not None and name not in allowed:
            raise UnknownParameter(f"Unknown parameter: '{param}.{name[:64]}'.", param=param)
    return value


def clean_list(value: Any, *, param: str, limit: int) -> list[Any]:
    """Return `value` if it is a list of at most `limit` items, else raise InvalidInput."""
    if not isinstance(value, list):
        raise InvalidType(_("Expected an array."), param=param)
    if len(value) > limit:
        raise InvalidInput(_("Must have at most {limit} items.").format(limit=limit), param=param)
    return value


def clean_metadata(value: Any, *, param: str = "metadata") -> dict[str, str]:
    """Return up to 16 pairs of strings; None means no pairs.

    Raises:
        InvalidInput: `value` is not such an object, or a key or value is too long.
    """
    pairs = {} if value is None else clean_object(value, param=param)
    if len(pairs) > MAX_PAIRS:
        raise InvalidInput(
            _("Must have at most {count} key-value pairs.").format(count=MAX_PAIRS), param=param
        )
    return {
        clean_text(key, param=param, limit=MAX_KEY): clean_text(
            text, param=f"{param}.{key[:MAX_KEY]}", limit=MAX_VALUE
        )
        for key, text in pairs.items()
    }


def clean_expiry(value: Any, *, anchor: str, unit: str, least: int, most: int) -> int | None:
    """Return the lifetime after `anchor` in `unit` ("seconds", "days"); None means no expiry.

    Raises:
        InvalidInput: a part of `expires_after` is invalid; `param` names it.
    """
    if value is None:
        return None
    param = "expires_after"
    given = clean_object(value, param=param, allowed=("anchor", unit))
    if given.get("anchor") != anchor:
        raise InvalidInput(f"Expected '{anchor}'.", param=f"{param}.anchor")
    return clean_integer(given.get(unit), param=f"{param}.{unit}", least=least, most=most)


_OBJECT_NAMES = {
    "asst_": "assistant",
    "thread_": "thread",
    "msg_": "message",
    "run_": "run",
    "step_": "run step",
    "call_": "tool call",
    "file-": "file",
    "vs_": "vector store",
    "vsfb_": "file batch",
    "upload_": "upload",
    "part_": "part",
}


def clean_id(value: Any, *, param: str, prefix: str) -> str:
    """Return `value` if it is a well-formed ID with `prefix`.

    Raises:
        InvalidInput: `value` is not a string that begins with the prefix.
        NotFound: no row can have this ID. Checked here because PostgreSQL rejects
            some strings.
    """
    if not isinstance(value, str) or not value.startswith(prefix):
        given = f"'{value[:64]}'" if isinstance(value, str) else "not a string"
        raise InvalidInput(
            f"Invalid '{param}': {given}. Expected an ID that begins with '{prefix[:-1]}'.",
            param=param,
        )
    if not ids.is_id(value, prefix):
        raise build_not_found(prefix, value, param=param)
    return value


def get_row(
    rows: QuerySet[Any, Row], value: Any, *, param: str, prefix: str, key: str = "pk"
) -> Row:
    """Return the row whose column `key` has the ID `value`.

    Raises:
        InvalidInput: the ID is malformed.
        NotFound: no row has this ID.
    """
    row = rows.filter(**{key: clean_id(value, param=param, prefix=prefix)}).first()
    if row is None:
        raise build_not_found(prefix, value, param=param)
    return row


def build_not_found(prefix: str, value: str, *, param: str) -> NotFound:
    """Return the error for an ID that does not exist or is not visible to the principal."""
    return NotFound(f"No {_OBJECT_NAMES[prefix]} found with id '{value[:128]}'.", param=param)
