"""The published description of the API, to check objects against."""

from __future__ import annotations

from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from chat.api.openapi.reference import load_reference

PUBLISHED: dict[str, Any] = load_reference()
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
    "file": "OpenAIFile",
    "vector_store": "VectorStoreObject",
    "vector_store.deleted": "DeleteVectorStoreResponse",
    "vector_store.file": "VectorStoreFileObject",
    "vector_store.file.deleted": "DeleteVectorStoreFileResponse",
    "vector_store.files_batch": "VectorStoreFileBatchObject",
    "vector_store.file_content.page": "VectorStoreFileContentResponse",
    "vector_store.search_results.page": "VectorStoreSearchResultsPage",
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
