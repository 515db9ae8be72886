"""The published description of the API, to check objects against."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from tests.database import CHECKOUT


def _may_be_null(value: Any) -> Any:
    """Return the older word of OpenAPI for "or null" in the words of JSON Schema."""
    if isinstance(value, list):
        return [_may_be_null(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: _may_be_null(item) for key, item in value.items() if key != "nullable"}
    return {"anyOf": [found, {"type": "null"}]} if value.get("nullable") is True else found


PUBLISHED: dict[str, Any] = _may_be_null(
    json.loads((CHECKOUT / "chat/api/published.json").read_text())
)
# The object's name in answers to its schema.
SCHEMAS = {
    "assistant": "AssistantObject",
    "assistant.deleted": "DeleteAssistantResponse",
    "thread": "ThreadObject",
    "thread.deleted": "DeleteThreadResponse",
    "thread.message": "MessageObject",
    "thread.message.deleted": "DeleteMessageResponse",
    "thread.run": "RunObject",
    "thread.run.step": "RunStepObject",
}


@cache
def validator(schema: str) -> Draft202012Validator:
    """Return a validator of one of the published schemas."""
    components = PUBLISHED["components"]
    return Draft202012Validator(
        {"$ref": f"#/components/schemas/{schema}", "components": components}
    )


def assert_published(found: dict[str, Any]) -> dict[str, Any]:
    """Check an object, or each of a list, against its schema, and return it.

    Every key of the schema has to be there, also those that may be null.
    """
    if found["object"] == "list":
        assert set(found) == {"object", "data", "first_id", "last_id", "has_more"}
        for item in found["data"]:
            assert_published(item)
        return found
    schema = SCHEMAS[found["object"]]
    validator(schema).validate(found)
    known = PUBLISHED["components"]["schemas"][schema]["properties"]
    assert set(known) <= set(found), set(known) - set(found)
    return found
