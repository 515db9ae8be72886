"""Differences between Atrium's objects and requests and the published document, with reasons.

Each difference is a JSON merge patch of one component: null removes a key, objects are merged,
other values replace; items of a list are addressed by index. docs/api.md has them as a table,
which a test compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chat.api.openapi.reference import build_ref
from chat.models.files import Purpose

Schema = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Patch of the component `name`; `why` is a sentence for API developers."""

    name: str
    patch: Schema
    why: str


def patch_properties(**patches: Any) -> Schema:
    """Return a patch of some properties."""
    return {"properties": patches}


def build_object(**patches: Any) -> Schema:
    """Return the schema of an object with these properties, all of them required."""
    return {"type": "object", "properties": patches, "required": sorted(patches)}


def build_array(items: Schema) -> Schema:
    """Return the schema of an array of `items`."""
    return {"type": "array", "items": items}


def make_nullable(schema: Schema) -> Schema:
    """Return the schema of a nullable value."""
    return {"anyOf": [schema, {"type": "null"}]}


STRING, BOOLEAN, INTEGER = {"type": "string"}, {"type": "boolean"}, {"type": "integer"}
STRING_OR_NULL: Schema = {"type": ["string", "null"]}
INTEGER_OR_NULL: Schema = {"type": ["integer", "null"]}
LABEL = {"id": STRING, "name": STRING, "description": STRING, "demonstration": BOOLEAN}
LISTS = (
    "Assistants",
    "Messages",
    "Runs",
    "RunSteps",
    "Files",
    "VectorStores",
    "VectorStoreFiles",
)
BUSY: Schema = {
    "type": ["string", "null"],
    "enum": ["reject", "queue", "interrupt", None],
    "description": "How a run is handled while another run of the thread is active: it is "
    "rejected (the default), queued, or interrupts the active run.",
}


def build_list(component: str) -> Schema:
    """Return the schema of a page of `component` objects."""
    return build_object(
        object={"type": "string", "const": "list"},
        data=build_array(build_ref(component)),
        first_id=STRING_OR_NULL,
        last_id=STRING_OR_NULL,
        has_more=BOOLEAN,
    )


def build_version1_file(owner: str, *, kind: str) -> Schema:
    """Return the schema of a file of an assistant or a message in version 1."""
    specific = {"object": {"type": "string", "const": kind}, f"{owner}_id": STRING}
    return build_object(id=STRING, created_at=INTEGER, **specific)


# Components missing from the published document.
ADDED: dict[str, Schema] = {
    "AtriumAssistantLabel": {
        "description": "The assistant as shown to people.",
        **build_object(**LABEL),
    },
    "AtriumApproval": {
        "description": "A server-side tool call that is waiting for approval.",
        **build_object(
            call_id=STRING,
            name=STRING,
            label=STRING,
            effect=STRING,
            arguments={},
            arguments_hash=STRING,
            expires_at=INTEGER_OR_NULL,
        ),
    },
    "Model": build_object(
        id=STRING,
        object={"type": "string", "const": "model"},
        created=INTEGER,
        owned_by=STRING,
        atrium=build_object(demonstration=BOOLEAN),
    ),
    "ListModelsResponse": build_object(
        object={"type": "string", "const": "list"},
        data=build_array(build_ref("Model")),
    ),
    "Upload": build_object(
        id=STRING,
        object={"type": "string", "const": "upload"},
        bytes=INTEGER,
        created_at=INTEGER,
        expires_at=INTEGER,
        filename=STRING,
        purpose=STRING,
        status={"type": "string", "enum": ["pending", "completed", "cancelled", "expired"]},
        file=make_nullable(build_ref("OpenAIFile")),
    ),
    "UploadPart": build_object(
        id=STRING,
        object={"type": "string", "const": "upload.part"},
        created_at=INTEGER,
        upload_id=STRING,
    ),
    "CreateUploadRequest": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "filename": STRING,
            "purpose": {
                "type": "string",
                "enum": ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"],
            },
            "bytes": {"type": "integer", "minimum": 1},
            "mime_type": STRING,
            "expires_after": make_nullable(build_ref("FileExpirationAfter")),
        },
        "required": ["filename", "purpose", "bytes", "mime_type"],
    },
    "CompleteUploadRequest": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "part_ids": build_array(STRING),
            "md5": {"type": ["string", "null"]},
        },
        "required": ["part_ids"],
    },
    "AssistantFileObject": build_version1_file("assistant", kind="assistant.file"),
    "MessageFileObject": build_version1_file("message", kind="thread.message.file"),
    "CreateAssistantFileRequest": {**build_object(file_id=STRING), "additionalProperties": False},
    "DeleteAssistantFileResponse": build_object(
        id=STRING, object={"type": "string", "const": "assistant.file.deleted"}, deleted=BOOLEAN
    ),
    "ListThreadsResponse": build_list("ThreadObject"),
    "ListAssistantFilesResponse": build_list("AssistantFileObject"),
    "ListMessageFilesResponse": build_list("MessageFileObject"),
}


RUN_EXTENSION: Schema = {
    "type": "object",
    "properties": {
        "reason": STRING_OR_NULL,
        "sentence": STRING_OR_NULL,
        "state": INTEGER,
        "waiting": BOOLEAN,
        "retry_at": INTEGER_OR_NULL,
        "retry_in": INTEGER_OR_NULL,
        "usage_estimated": BOOLEAN,
        "assistant": make_nullable(build_ref("AtriumAssistantLabel")),
        "cost": make_nullable(build_object(amount=STRING, currency=STRING)),
        "approvals": {
            "type": "array",
            "items": build_ref("AtriumApproval"),
        },
    },
}
CALL = {"status": STRING, "label": STRING, "effect": STRING, "duration_ms": INTEGER_OR_NULL}
LOCATION = {
    "file_name": STRING,
    "store_file": INTEGER,
    "page": INTEGER_OR_NULL,
    "start": INTEGER,
    "end": INTEGER,
}
PASSAGE = build_object(mark=STRING, file_id=STRING, **LOCATION)
WRITTEN_FILE = build_object(file_id=STRING, name=STRING, bytes=INTEGER)


# Schema of `atrium` on each component, and its purpose.
EXTENSION_SCHEMAS: dict[str, tuple[Schema, str]] = {
    "AssistantObject": (
        build_object(
            **LABEL,
            suggested_prompts=build_array(STRING),
            default=BOOLEAN,
            enabled=BOOLEAN,
            in_page=BOOLEAN,
        ),
        "how the chat page presents the assistant",
    ),
    "ThreadObject": (
        build_object(title=STRING, updated_at=INTEGER),
        "title and time of the last activity",
    ),
    "MessageObject": (
        build_object(
            client_id=STRING_OR_NULL,
            assistant=make_nullable(build_ref("AtriumAssistantLabel")),
            queued=BOOLEAN,
        ),
        "who answered, and whether the message is still queued",
    ),
    "RunObject": (
        RUN_EXTENSION,
        "the exact reason for the end, the cost, whether the usage is estimated, when an "
        "unavailable model server is retried, and the pending approvals",
    ),
    "RunStepObject": (
        build_object(index=INTEGER),
        "the step's position in its run",
    ),
    "RunToolCallObject": (
        build_object(approval=make_nullable(build_ref("AtriumApproval"))),
        "the approval that a call waits for; such a call accepts only the outputs "
        '"approve" and "decline"',
    ),
    "RunStepDetailsToolCallsFunctionObject": (
        build_object(**CALL),
        "the outcome of the call",
    ),
    "RunStepDetailsToolCallsFileSearchObject": (
        build_object(**CALL, query=STRING, error=STRING_OR_NULL, passages=build_array(PASSAGE)),
        "the query, the passages with their marks and locations, and the outcome of the call",
    ),
    "RunStepDetailsToolCallsCodeObject": (
        build_object(
            **CALL, error=STRING_OR_NULL, files=build_array(WRITTEN_FILE), notes=build_array(STRING)
        ),
        "the files that the code wrote, and the outcome of the call",
    ),
    "MessageContentTextAnnotationsFileCitationObject": (
        build_object(number=INTEGER, **LOCATION),
        "the number of the cited passage in its message, and the location of the quote",
    ),
}


def iterate_differences() -> Iterator[Difference]:
    """Yield all differences."""
    yield from _iterate_extensions()
    yield from _iterate_widened()
    yield from _iterate_nullable()


def _iterate_extensions() -> Iterator[Difference]:
    for name, (schema, why) in EXTENSION_SCHEMAS.items():
        yield Difference(
            name=name, patch=patch_properties(atrium=schema), why=f"Extension `atrium`: {why}."
        )
    yield Difference(
        name="CreateRunRequest",
        patch=patch_properties(busy=BUSY),
        why="Extension `busy`: how the run is handled while another run is active.",
    )


def _iterate_widened() -> Iterator[Difference]:
    yield Difference(
        name="AssistantObject",
        patch=patch_properties(reasoning_effort=STRING_OR_NULL),
        why="`reasoning_effort` is returned.",
    )
    yield Difference(
        name="CreateThreadAndRunRequest",
        patch=patch_properties(reasoning_effort=build_ref("ReasoningEffort")),
        why="`reasoning_effort` is accepted as on other runs.",
    )
    yield Difference(
        name="VectorStoreObject",
        patch=patch_properties(description=STRING_OR_NULL),
        why="`description` is returned.",
    )
    yield Difference(
        name="CreateVectorStoreRequest",
        patch=patch_properties(description=STRING_OR_NULL),
        why="`description` is accepted, because the official clients send it.",
    )
    yield Difference(
        name="OpenAIFile",
        patch=patch_properties(purpose={"enum": list(Purpose.values)}),
        why="`purpose` may also be `evals`.",
    )
    yield Difference(
        name="MessageContentTextAnnotationsFileCitationObject",
        patch=patch_properties(file_citation=patch_properties(quote=STRING)),
        why="`file_citation.quote` is returned, as in version 1.",
    )
    either = {"anyOf": {0: {"properties": {"file_search": {"oneOf": None}}}}}
    for name in ("CreateAssistantRequest", "CreateThreadRequest"):
        yield Difference(
            name=name,
            patch=patch_properties(tool_resources=either),
            why="`tool_resources.file_search` may be empty.",
        )


def _iterate_nullable() -> Iterator[Difference]:
    yield Difference(
        name="OpenAIFile",
        patch=patch_properties(expires_at=INTEGER_OR_NULL, status_details=STRING_OR_NULL),
        why="`expires_at` and `status_details` are always present, and may be null.",
    )
    after = make_nullable(build_ref("VectorStoreExpirationAfter"))
    for name in ("VectorStoreObject", "UpdateVectorStoreRequest", "CreateVectorStoreRequest"):
        yield Difference(
            name=name,
            patch=patch_properties(expires_after={"$ref": None, "allOf": None, **after}),
            why="`expires_after` may be null: the store never expires.",
        )
    for kind in LISTS:
        yield Difference(
            name=f"List{kind}Response",
            patch=patch_properties(first_id=STRING_OR_NULL, last_id=STRING_OR_NULL),
            why="`first_id` and `last_id` of an empty list are null.",
        )


def apply_overrides(published: dict[str, Schema]) -> dict[str, Schema]:
    """Return the published components with our additions and patches."""
    components = {**published, **ADDED}
    for difference in iterate_differences():
        components[difference.name] = merge_patch(components[difference.name], difference.patch)
    return components


def merge_patch(target: Any, patch: Any) -> Any:
    """Return `target` with a JSON merge patch (RFC 7396) applied; lists are patched by index."""
    if not isinstance(patch, dict):
        return patch
    if isinstance(target, list):
        return [merge_patch(item, patch.get(place, {})) for place, item in enumerate(target)]
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result
