"""Strict fields of request bodies: no coercion, no unknown fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from rest_framework import serializers

from chat.errors import InvalidInput, InvalidType, MissingParameter, UnknownParameter

_TYPE_CODES = {"invalid", "null", "not_a_list", "not_a_dict"}
_NAMES = {str: "a string", bool: "a boolean", int: "an integer", float: "a number"}
_NAMES |= {list: "an array", dict: "an object", type(None): "null"}


class Input(serializers.Serializer):
    """Base of request bodies, nested objects and query parameters. Rejects unknown fields."""

    def to_internal_value(self, data: Any) -> Any:
        """Reject anything but an object of the declared fields."""
        if not isinstance(data, dict):
            _reject_type(self, data, "an object")
        unknown = next((name for name in data if name not in self.fields), None)
        if unknown is not None:
            detail = serializers.ErrorDetail("", code="unknown")
            raise serializers.ValidationError({unknown: [detail]})
        return super().to_internal_value(data)


class Text(serializers.CharField):
    """String field, neither trimmed nor coerced."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_blank": True, "trim_whitespace": False, **options})

    def run_validation(self, data: Any = serializers.empty) -> Any:
        """Skip the framework's special cases of empty text."""
        if isinstance(data, str) and not data and not self.allow_blank:
            self.fail("blank")
        return serializers.Field.run_validation(self, data)

    def to_internal_value(self, data: Any) -> str:
        """Return the string; reject other types."""
        return data if isinstance(data, str) else _reject_type(self, data, "a string")


class StrictInteger(serializers.IntegerField):
    """Integer field that rejects numeric strings."""

    def to_internal_value(self, data: Any) -> int:
        """Return the integer; reject other types."""
        if isinstance(data, bool) or not isinstance(data, int):
            _reject_type(self, data, "an integer")
        return int(data)


class Number(serializers.FloatField):
    """Number field that rejects numeric strings."""

    def to_internal_value(self, data: Any) -> float:
        """Return the number as a float; reject other types."""
        if isinstance(data, bool) or not isinstance(data, int | float):
            _reject_type(self, data, "a number")
        return float(data)


class StrictBoolean(serializers.BooleanField):
    """Boolean field that rejects strings, 0 and 1."""

    def to_internal_value(self, data: Any) -> bool:
        """Return the boolean; reject other types."""
        return data if isinstance(data, bool) else _reject_type(self, data, "a boolean")


class Choice(serializers.ChoiceField):
    """String field with a fixed set of values."""

    def to_internal_value(self, data: Any) -> str:
        """Return the string; reject values that are not offered, and list those that are."""
        if not isinstance(data, str):
            _reject_type(self, data, "a string")
        if data not in self.choices:
            offered = ", ".join(f"'{choice}'" for choice in self.choices)
            text = f"'{data[:100]}' is not one of {offered}."
            raise serializers.ValidationError(text, code="invalid_choice")
        return data


class RawValue(serializers.Field):
    """Unvalidated value; validated by the action."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the value unchanged."""
        return data

    def to_representation(self, value: Any) -> Any:
        """Return the value unchanged."""
        return value


def read_input(shape: type[Input], data: Any) -> dict[str, Any]:
    """Return the validated `data`: given fields, and declared defaults.

    Only the first problem is raised; `param` names its field, nested ones as "a.b" and "a[0].b".

    Raises:
        MissingParameter: a required field is missing.
        UnknownParameter: a field is not declared.
        InvalidType: a value has the wrong type.
        InvalidInput: a value is not allowed.
    """
    serializer = shape(data=data)
    if not serializer.is_valid():
        param, detail = next(_flatten(serializer.errors, ""))
        raise _build_error(param, detail)
    return dict(serializer.validated_data)


def _flatten(errors: Any, path: str) -> Iterator[tuple[str, serializers.ErrorDetail]]:
    if isinstance(errors, serializers.ErrorDetail):
        yield path, errors
    elif isinstance(errors, Mapping):
        for key, inner in errors.items():
            if key == "non_field_errors":
                yield from _flatten(inner, path)
            elif isinstance(key, int):
                yield from _flatten(inner, f"{path}[{key}]")
            else:
                yield from _flatten(inner, f"{path}.{key}" if path else str(key))
    else:
        for index, inner in enumerate(errors):
            is_row = isinstance(inner, Mapping)
            yield from _flatten(inner, f"{path}[{index}]" if is_row else path)


def _build_error(param: str, detail: serializers.ErrorDetail) -> InvalidInput:
    if detail.code == "unknown":
        return UnknownParameter(f"Unknown parameter: '{param[:200]}'.", param=param)
    if detail.code == "required":
        return MissingParameter(param=param)
    if detail.code in _TYPE_CODES:
        return InvalidType(f"Invalid type for '{param}': {detail}", param=param)
    return InvalidInput(f"Invalid '{param}': {detail}", param=param)


def _reject_type(field: serializers.Field, value: Any, expected: str) -> NoReturn:
    actual = _NAMES.get(type(value), "another type")
    text = f"expected {expected}, but got {actual} instead."
    raise serializers.ValidationError(text, code="invalid")
