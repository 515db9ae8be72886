"""/v1/openapi.json: valid, complete, and the published document but for the listed differences."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from drf_spectacular.validation import validate_schema

from chat.api import (
    assistants,
    messages,
    runs,
    threads,
    uploads,
    urls,
    v1_compat_files,
    vector_stores,
)
from chat.api.fields import Input
from chat.api.idempotency import KEY_HEADER, RETRY_HEADER
from chat.api.openapi.extensions import EXTENSION_OPERATIONS
from chat.api.openapi.overrides import ADDED, iterate_differences, merge_patch
from chat.api.openapi.schema import description
from tenants.actions.external import USER_HEADER
from tests.api.published import PUBLISHED

OURS = {"OpenAI-Beta", USER_HEADER, KEY_HEADER, RETRY_HEADER, "If-Match", "event_ids"}
VERBS = ("get", "post", "delete")
PROSE = ("description", "summary", "title", "deprecated", "tags", "operationId")
Operation = tuple[str, str]


def operations(document: dict[str, Any]) -> dict[Operation, dict[str, Any]]:
    return {
        (path, verb): operation
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    }


HERE = operations(description())
THERE = operations(PUBLISHED)
EXTENDED = {(path, verb) for path, verbs in EXTENSION_OPERATIONS.items() for verb in verbs}


def plain(value: Any) -> Any:
    """Return a schema without prose, whose words are nobody's interface."""
    if isinstance(value, dict):
        return {
            key: {name: plain(inner) for name, inner in item.items()}
            if key == "properties"
            else plain(item)
            for key, item in value.items()
            if key not in PROSE and not str(key).startswith("x-")
        }
    return [plain(item) for item in value] if isinstance(value, list) else value


def test_anybody_may_read_a_valid_description() -> None:
    answer = Client().get("/v1/openapi.json")
    assert answer.headers["Content-Type"] == "application/json"
    found = answer.json()
    assert found["openapi"].startswith("3.1")
    validate_schema(found)  # type: ignore[no-untyped-call]


def test_every_published_operation_is_here_and_every_other_an_extension() -> None:
    assert set(HERE) == set(THERE) | EXTENDED


def test_every_route_is_described_and_nothing_else() -> None:
    routes = {
        ("/" + re.sub(r"<\w+:(\w+)>", r"{\1}", str(route.pattern)), verb)
        for route in urls.urlpatterns
        for verb in VERBS
        if hasattr(getattr(route.callback, "cls", None), verb)
    }
    assert set(HERE) == routes


@pytest.mark.parametrize("at", sorted(THERE), ids=" ".join)
def test_parameters_bodies_and_answers_are_the_published_ones(at: Operation) -> None:
    here, there = plain(HERE[at]), plain(THERE[at])
    parameters = {item["name"]: item for item in here["parameters"] if item["name"] not in OURS}
    assert parameters == {item["name"]: item for item in there.get("parameters", [])}
    assert here.get("requestBody") == there.get("requestBody")
    assert json_schema(here) == json_schema(there)


def json_schema(operation: dict[str, Any]) -> Any:
    """Return the schema of what is answered, streams apart."""
    return operation["responses"]["200"]["content"]["application/json"]["schema"]


def test_components_are_the_published_ones_but_for_the_listed_differences() -> None:
    expected: dict[str, Any] = plain(PUBLISHED["components"]["schemas"])
    for difference in iterate_differences():
        expected[difference.name] = merge_patch(expected[difference.name], plain(difference.patch))
    here = plain(description()["components"]["schemas"])
    for name in set(here) - set(ADDED):
        assert here[name] == expected[name], name


BODIES: dict[str, type[Input]] = {
    "CreateAssistantRequest": assistants.NewAssistant,
    "CreateAssistantFileRequest": v1_compat_files.NewAssistantFile,
    "ModifyAssistantRequest": assistants.AssistantUpdate,
    "CreateThreadRequest": threads.NewThread,
    "ModifyThreadRequest": threads.ThreadUpdate,
    "CreateMessageRequest": messages.NewMessage,
    "ModifyMessageRequest": messages.MessageUpdate,
    "CreateRunRequest": runs.RunInput,
    "ModifyRunRequest": runs.RunUpdate,
    "CreateThreadAndRunRequest": runs.ThreadAndRunInput,
    "SubmitToolOutputsRunRequest": runs.ToolOutputsInput,
    "CreateVectorStoreRequest": vector_stores.VectorStoreInput,
    "UpdateVectorStoreRequest": vector_stores.StoreUpdate,
    "CreateVectorStoreFileRequest": vector_stores.NewStoreFile,
    "UpdateVectorStoreFileAttributesRequest": vector_stores.StoreFileUpdate,
    "CreateVectorStoreFileBatchRequest": vector_stores.NewBatch,
    "VectorStoreSearchRequest": vector_stores.NewSearch,
    "CreateUploadRequest": uploads.NewUpload,
    "CompleteUploadRequest": uploads.UploadCompletion,
}


@pytest.mark.parametrize("component", BODIES)
def test_views_read_the_parameters_that_are_described(component: str) -> None:
    described = description()["components"]["schemas"][component]
    fields = BODIES[component]().fields
    assert set(fields) == set(described["properties"])
    assert {name for name, field in fields.items() if field.required} == set(
        described.get("required", [])
    )


def test_nothing_is_referred_to_that_is_not_there() -> None:
    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return own.union(*map(references, value.values()))
        return set().union(*map(references, value)) if isinstance(value, list) else set()

    known = {f"#/components/schemas/{name}" for name in description()["components"]["schemas"]}
    assert references(description()) <= known


def test_the_page_lists_every_difference() -> None:
    page = Path("docs/api.md").read_text()
    for difference in iterate_differences():
        assert f"| `{difference.name}` | {difference.why} |" in page
    for at in EXTENDED:
        assert f"`{at[1].upper()} /v1{at[0]}`" in page


def operations_with(header: str) -> set[str]:
    """Return the ids of the operations that take a header."""
    return {
        operation["operationId"]
        for operation in HERE.values()
        if header in {parameter["name"] for parameter in operation["parameters"]}
    }


def test_versions_are_described() -> None:
    """`tests/chat/test_lost_updates.py` shows that the server does so."""
    changing = {"modifyAssistant", "modifyVectorStore"}
    assert operations_with("If-Match") == changing
    answering = {
        operation["operationId"]
        for operation in HERE.values()
        if "ETag" in operation["responses"]["200"].get("headers", {})
    }
    others = {"createAssistant", "getAssistant", "createVectorStore", "getVectorStore"}
    assert answering == changing | others


def test_repeats_are_described_wherever_something_is_done() -> None:
    posts = {operation["operationId"] for at, operation in HERE.items() if at[1] == "post"}
    assert operations_with(KEY_HEADER) == posts
    assert operations_with(RETRY_HEADER) == posts - {"searchVectorStore"}
