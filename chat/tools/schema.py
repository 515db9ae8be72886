"""Conversion of parameter annotations to JSON schemas, and of valid arguments to values."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

from django.db import models

from chat.tools.base import ById, InjectedArgument, Limits, Parameter, ToolError
from chat.tools.reserved import is_reserved

Schema = dict[str, Any]
Build = Callable[[Any], Any]

_MAX_ITEMS = 100
_DATE = r"^\d{4}-\d{2}-\d{2}$"
_DECIMAL = r"^-?\d{1,18}(\.\d{1,9})?$"


class UnusableTool(TypeError):
    """A tool whose name, signature or options are invalid; raised at import."""


def _return_unchanged(value: Any) -> Any:
    return value


def _parse_date(value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ToolError("invalid_arguments", f"{value} is not a valid date.") from None


_PLAIN: dict[Any, tuple[Schema, Build]] = {
    str: ({"type": "string"}, _return_unchanged),
    int: ({"type": "integer"}, _return_unchanged),
    float: ({"type": "number"}, float),
    bool: ({"type": "boolean"}, _return_unchanged),
    # Decimals are strings, because JSON numbers would be parsed as binary floats.
    Decimal: ({"type": "string", "pattern": _DECIMAL}, Decimal),
    date: ({"type": "string", "format": "date", "pattern": _DATE}, _parse_date),
}


def build_parameter(
    name: str, annotation: Any, description: str
) -> tuple[Parameter, Schema | None]:
    """Return a parameter and its schema; the schema is None for an injected parameter.

    Raises:
        UnusableTool: the type has no schema, or the name is reserved.
    """
    marks, _inner = _unwrap(annotation)
    injected = next((mark for mark in marks if isinstance(mark, InjectedArgument)), None)
    if injected is not None:
        return Parameter(name=name, build=_return_unchanged, injected=injected), None
    if is_reserved(name):
        raise UnusableTool(
            f"A model must not choose {name!r}: declare it as InjectedArgument or rename it."
        )
    schema, build = _build_schema(annotation)
    if description and "description" not in schema:
        schema = {**schema, "description": description}
    model, by_id, many = _find_model(annotation)
    return Parameter(name=name, build=build, model=model, by_id=by_id, many=many), schema


def _unwrap(annotation: Any) -> tuple[tuple[Any, ...], Any]:
    if typing.get_origin(annotation) in (typing.Required, typing.NotRequired):
        return _unwrap(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) is typing.Annotated:
        return annotation.__metadata__, annotation.__origin__
    return (), annotation


def _find_model(annotation: Any) -> tuple[type[models.Model] | None, ById | None, bool]:
    """Return the model of a parameter's ids (or None), its marker, and whether it is a list."""
    marks, inner = _unwrap(annotation)
    by_id = next((mark for mark in marks if isinstance(mark, ById)), None)
    if by_id is not None:
        return inner, by_id, False
    options = [kind for kind in typing.get_args(inner) if kind is not types.NoneType]
    if len(options) == 1 and typing.get_origin(inner) in (list, typing.Union, types.UnionType):
        model, by_id, many = _find_model(options[0])
        return model, by_id, many or typing.get_origin(inner) is list
    return None, None, False


def _build_schema(annotation: Any) -> tuple[Schema, Build]:
    marks, inner = _unwrap(annotation)
    by_id = next((mark for mark in marks if isinstance(mark, ById)), None)
    schema, build = _build_id_schema(inner, by_id) if by_id else _build_bare_schema(inner)
    for mark in marks:
        if isinstance(mark, Limits):
            schema = {**schema, **_build_bounds(schema, mark)}
        elif isinstance(mark, str):
            schema = {**schema, "description": mark}
    return schema, build


def _build_bare_schema(annotation: Any) -> tuple[Schema, Build]:
    if annotation in _PLAIN:
        schema, build = _PLAIN[annotation]
        return dict(schema), build
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return _build_choice_schema(list(typing.get_args(annotation))), _return_unchanged
    if origin is list:
        return _build_list_schema(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return _build_optional_schema(annotation)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _build_choice_schema([member.value for member in annotation]), annotation
    if dataclasses.is_dataclass(annotation) or typing.is_typeddict(annotation):
        return _build_object_schema(annotation)
    raise UnusableTool(f"There is no JSON schema for {annotation!r}.")


def _build_choice_schema(values: list[Any]) -> Schema:
    kinds = {type(value) for value in values}
    if not kinds <= {str} and not kinds <= {int}:
        raise UnusableTool("Choices must be all strings or all integers.")
    return {"type": "string" if kinds == {str} else "integer", "enum": values}


def _build_list_schema(item: Any) -> tuple[Schema, Build]:
    schema, build = _build_schema(item)
    return (
        {"type": "array", "items": schema, "maxItems": _MAX_ITEMS},
        lambda values: [build(value) for value in values],
    )


def _build_optional_schema(annotation: Any) -> tuple[Schema, Build]:
    options = [kind for kind in typing.get_args(annotation) if kind is not types.NoneType]
    if len(options) != 1 or len(typing.get_args(annotation)) != 2:
        raise UnusableTool(f"{annotation!r}: the only supported union is X | None.")
    schema, build = _build_schema(options[0])
    return (
        {"anyOf": [schema, {"type": "null"}]},
        lambda value: None if value is None else build(value),
    )


def _build_object_schema(annotation: Any) -> tuple[Schema, Build]:
    hints = typing.get_type_hints(annotation, include_extras=True)
    if dataclasses.is_dataclass(annotation):
        required = [
            each.name
            for each in dataclasses.fields(annotation)
            if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        ]
        make: Callable[..., Any] = typing.cast("Callable[..., Any]", annotation)
    else:
        required = [name for name in hints if _is_required(annotation, name, hints[name])]
        make = dict
    for name in hints:
        if is_reserved(name):
            raise UnusableTool(f"A model must not choose {name!r}: rename it.")
        if _find_model(hints[name])[0] is not None:
            raise UnusableTool(f"{name}: ids must be parameters of the tool itself.")
    parts = {name: _build_schema(kind) for name, kind in hints.items()}
    return (
        build_closed_object({name: schema for name, (schema, _) in parts.items()}, required),
        lambda value: make(**{name: parts[name][1](item) for name, item in value.items()}),
    )


def _is_required(typed_dict: Any, name: str, hint: Any) -> bool:
    # With postponed annotations, __required_keys__ does not reflect NotRequired.
    origin = typing.get_origin(hint)
    if origin in (typing.Required, typing.NotRequired):
        return origin is typing.Required
    return name in typed_dict.__required_keys__


def _build_id_schema(model: type[models.Model], by_id: ById) -> tuple[Schema, Build]:
    if not hasattr(model._default_manager.all(), "visible_to"):
        raise UnusableTool(f"{model.__name__} has no visible_to: its ids cannot be arguments.")
    column = model._meta.pk if by_id.lookup == "pk" else model._meta.get_field(by_id.lookup)
    return {
        "type": "integer" if isinstance(column, models.IntegerField) else "string"
    }, _return_unchanged


def _build_bounds(schema: Schema, limits: Limits) -> Schema:
    names = {"string": ("minLength", "maxLength"), "array": ("minItems", "maxItems")}
    least, most = names.get(schema.get("type", ""), ("minimum", "maximum"))
    found = {least: limits.least, most: limits.most}
    return {name: value for name, value in found.items() if value is not None}


def build_closed_object(properties: Schema, required: list[str]) -> Schema:
    """Return the schema of an object with these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
