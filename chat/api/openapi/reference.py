"""Published description of the Assistants API, a data file (MIT), converted to OpenAPI 3.1."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


@cache
def load_reference() -> dict[str, Any]:
    """Return the data file, with "nullable" converted to JSON Schema as in OpenAPI 3.1."""
    reference: dict[str, Any] = _convert_nullable(
        json.loads(Path(__file__).with_name("published.json").read_text())
    )
    return reference


def build_ref(component: str) -> dict[str, str]:
    """Return a reference to a component."""
    return {"$ref": f"#/components/schemas/{component}"}


def _convert_nullable(value: Any) -> Any:
    if isinstance(value, list):
        return [_convert_nullable(item) for item in value]
    if not isinstance(value, dict):
        return value
    schema = {key: _convert_nullable(item) for key, item in value.items() if key != "nullable"}
    return {"anyOf": [schema, {"type": "null"}]} if value.get("nullable") is True else schema
