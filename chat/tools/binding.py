"""Binding of arguments to a tool's function: ids become rows, injected parameters are filled."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from chat.tools.base import Parameter, Tool, ToolContext, ToolError

NOT_FOUND = "No object has this id."


def bind(tool: Tool, arguments: dict[str, Any], context: ToolContext) -> dict[str, Any]:
    """Return the keyword arguments of the tool's function.

    Call within the tenant's scope and a transaction. All ids are resolved before the tool has
    any effect.

    Raises:
        ToolError: "not_found": an id does not exist or is not visible to the principal;
            "invalid_arguments": a value cannot be converted to its type.
    """
    values: dict[str, Any] = {}
    for each in tool.parameters:
        if each.injected is not None:
            values[each.name] = each.injected.fill(context)
        elif each.name in arguments:
            built = each.build(arguments[each.name])
            values[each.name] = built if each.by_id is None else _resolve_row(each, built, context)
    return values


def _resolve_row(each: Parameter, value: Any, context: ToolContext) -> Any:
    if value is None:
        return None
    wanted = value if each.many else [value]
    rows = _load_rows(each, wanted, context)
    found = [rows.get(str(item)) for item in wanted]
    if any(row is None for row in found):
        raise ToolError("not_found", NOT_FOUND)
    return found if each.many else found[0]


def _load_rows(
    each: Parameter, wanted: Sequence[Any], context: ToolContext
) -> dict[str, models.Model]:
    assert each.model is not None
    assert each.by_id is not None
    lookup = each.by_id.lookup
    manager: Any = each.model._default_manager
    visible = manager.all().visible_to(context.principal)
    try:
        rows = list(visible.filter(**{f"{lookup}__in": wanted}))
    except (ValueError, ValidationError):  # malformed id
        return {}
    return {str(getattr(row, lookup)): row for row in rows}


def serialize_value(value: Any) -> Any:
    """Convert a bound value to JSON for the trace; rows are represented by their ids."""
    if isinstance(value, models.Model):
        return {"object": value._meta.label, "id": str(value.pk)}
    if isinstance(value, dict):
        return {str(key): serialize_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [serialize_value(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            each.name: serialize_value(getattr(value, each.name))
            for each in dataclasses.fields(value)
        }
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str | bool | int | float | None):
        return value
    if isinstance(value, date | Decimal):
        return str(value)
    return type(value).__name__
