"""Differences between Atrium's objects and requests and the published document, with reasons.

Each difference is a JSON merge patch of one component: null removes a key, objects are merged,
other values replace; items of a list are addressed by index. docs/api.md has them as a table,
which a test compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chat.api.published import ref
from chat.models.files import Purpose

Schema = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Patch of the component `name`; `why` is a sentence for API developers."""

    name: str
    patch: Schema
    why: str


def properties(**patches: Any) -> Schema:
    """Return a patch of some properties."""
    return {"properties": patches}


def obj(**patches: Any) -> Schema:
    """Return the schema of an object with these properties, all of them required."""
    return {"type": "object", "properties": patches, "required": sorted(patches)}


def array(items: Schema) -> Schema:
    """Return the schema of an array of `items`."""
    return {"type": "array", "items": items}


def or_null(schema: Schema) -> Schema:
    """Return the schema of a nullable value."""
    return {"anyOf": [schema, {"type": "null"}]}


TEXT, FLAG, NUMBER = {"type": "string"}, {"type": "boolean"}, {"type": "integer"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
NUMBER_OR_NULL: Schema = {"type": ["integer", "null"]}
LABEL = {"id": TEXT, "name": TEXT, "description": TEXT, "demonstration": FLAG}
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


def list_of(component: str) -> Schema:
    """Return the schema of a page of `component` objects."""
    return obj(
        object={"type": "string", "const": "list"},
        data=array(ref(component)),
        first_id=TEXT_OR_NULL,
        last_id=TEXT_OR_NULL,
        has_more=FLAG,
    )


def file_of(owner: str, *, kind: str) -> Schema:
    """Return the schema of a file of an assistant or a message in version 1."""
    specific = {"object": {"type": "string", "const": kind}, f"{owner}_id": TEXT}
    return obj(id=TEXT, created_at=NUMBER, **specific)


# Components missing from the published document.
ADDED: dict[str, Schema] = {
    "AtriumAssistantLabel": {"description": "The assistant as shown to people.", **obj(**LABEL)},
    "AtriumApproval": {
        "description": "A server-side tool call that is waiting for approval.",
        **obj(
            call_id=TEXT,
            name=TEXT,
            label=TEXT,
            effect=TEXT,
            arguments={},
            arguments_hash=TEXT,
            expires_at=NUMBER_OR_NULL,
        ),
    },
    "Model": obj(
        id=TEXT,
        object={"type": "string", "const": "model"},
        created=NUMBER,
        owned_by=TEXT,
        atrium=obj(demonstration=FLAG),
    ),
    "ListModelsResponse": obj(
        object={"type": "string", "const": "list"},
        data=array(ref("Model")),
    ),
    "Upload": obj(
        id=TEXT,
        object={"type": "string", "const": "upload"},
        bytes=NUMBER,
        created_at=NUMBER,
        expires_at=NUMBER,
        filename=TEXT,
        purpose=TEXT,
        status={"type": "string", "enum": ["pending", "completed", "cancelled", "expired"]},
        file=or_null(ref("OpenAIFile")),
    ),
    "UploadPart": obj(
        id=TEXT,
        object={"type": "string", "const": "upload.part"},
        created_at=NUMBER,
        upload_id=TEXT,
    ),
    "CreateUploadRequest": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "filename": TEXT,
            "purpose": {
                "type": "string",
                "enum": ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"],
            },
            "bytes": {"type": "integer", "minimum": 1},
            "mime_type": TEXT,
            "expires_after": or_null(ref("FileExpirationAfter")),
        },
        "required": ["filename", "purpose", "bytes", "mime_type"],
    },
    "CompleteUploadRequest": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "part_ids": array(TEXT),
            "md5": {"type": ["string", "null"]},
        },
        "required": ["part_ids"],
    },
    "AssistantFileObject": file_of("assistant", kind="assistant.file"),
    "MessageFileObject": file_of("message", kind="thread.message.file"),
    "CreateAssistantFileRequest": {**obj(file_id=TEXT), "additionalProperties": False},
    "DeleteAssistantFileResponse": obj(
        id=TEXT, object={"type": "string", "const": "assistant.file.deleted"}, deleted=FLAG
    ),
    "ListThreadsResponse": list_of("ThreadObject"),
    "ListAssistantFilesResponse": list_of("AssistantFileObject"),
    "ListMessageFilesResponse": list_of("MessageFileObject"),
}


RUN_EXTENSION: Schema = {
    "type": "object",
    "properties": {
        "reason": TEXT_OR_NULL,
        "sentence": TEXT_OR_NULL,
        "state": NUMBER,
        "waiting": FLAG,
        "retry_at": NUMBER_OR_NULL,
        "retry_in": NUMBER_OR_NULL,
        "usage_estimated": FLAG,
        "assistant": or_null(ref("AtriumAssistantLabel")),
        "cost": or_null(obj(amount=TEXT, currency=TEXT)),
        "approvals": {
            "type": "array",
            "items": ref("AtriumApproval"),
        },
    },
}
CALL = {"status": TEXT, "label": TEXT, "effect": TEXT, "duration_ms": NUMBER_OR_NULL}
PLACE = {
    "file_name": TEXT,
    "store_file": NUMBER,
    "page": NUMBER_OR_NULL,
    "start": NUMBER,
    "end": NUMBER,
}
PASSAGE = obj(mark=TEXT, file_id=TEXT, **PLACE)
WRITTEN = obj(file_id=TEXT, name=TEXT, bytes=NUMBER)


# Schema of `atrium` on each component, and its purpose.
EXTENSIONS: dict[str, tuple[Schema, str]] = {
    "AssistantObject": (
        obj(**LABEL, suggested_prompts=array(TEXT), default=FLAG, enabled=FLAG, in_page=FLAG),
        "how the chat page presents the assistant",
    ),
    "ThreadObject": (
        obj(title=TEXT, updated_at=NUMBER),
        "title and time of the last activity",
    ),
    "MessageObject": (
        obj(client_id=TEXT_OR_NULL, assistant=or_null(ref("AtriumAssistantLabel")), queued=FLAG),
        "who answered, and whether the message is still queued",
    ),
    "RunObject": (
        RUN_EXTENSION,
        "the exact reason for the end, the cost, whether the usage is estimated, when an "
        "unavailable model server is retried, and the pending approvals",
    ),
    "RunStepObject": (
        obj(index=NUMBER),
        "the step's position in its run",
    ),
    "RunToolCallObject": (
        obj(approval=or_null(ref("AtriumApproval"))),
        "the approval that a call waits for; such a call accepts only the outputs "
        '"approve" and "decline"',
    ),
    "RunStepDetailsToolCallsFunctionObject": (
        obj(**CALL),
        "the outcome of the call",
    ),
    "RunStepDetailsToolCallsFileSearchObject": (
        obj(**CALL, query=TEXT, error=TEXT_OR_NULL, passages=array(PASSAGE)),
        "the query, the passages with their marks and locations, and the outcome of the call",
    ),
    "RunStepDetailsToolCallsCodeObject": (
        obj(**CALL, error=TEXT_OR_NULL, files=array(WRITTEN), notes=array(TEXT)),
        "the files that the code wrote, and the outcome of the call",
    ),
    "MessageContentTextAnnotationsFileCitationObject": (
        obj(number=NUMBER, **PLACE),
        "the number of the cited passage in its message, and the location of the quote",
    ),
}


def differences() -> Iterator[Difference]:
    """Yield all differences."""
    yield from _extensions()
    yield from _wider()
    yield from _nullable()


def _extensions() -> Iterator[Difference]:
    for name, (schema, why) in EXTENSIONS.items():
        yield Difference(
            name=name, patch=properties(atrium=schema), why=f"Extension `atrium`: {why}."
        )
    yield Difference(
        name="CreateRunRequest",
        patch=properties(busy=BUSY),
        why="Extension `busy`: how the run is handled while another run is active.",
    )


def _wider() -> Iterator[Difference]:
    yield Difference(
        name="AssistantObject",
        patch=properties(reasoning_effort=TEXT_OR_NULL),
        why="`reasoning_effort` is returned.",
    )
    yield Difference(
        name="CreateThreadAndRunRequest",
        patch=properties(reasoning_effort=ref("ReasoningEffort")),
        why="`reasoning_effort` is accepted as on other runs.",
    )
    yield Difference(
        name="VectorStoreObject",
        patch=properties(description=TEXT_OR_NULL),
        why="`description` is returned.",
    )
    yield Difference(
        name="CreateVectorStoreRequest",
        patch=properties(description=TEXT_OR_NULL),
        why="`description` is accepted, because the official clients send it.",
    )
    yield Difference(
        name="OpenAIFile",
        patch=properties(purpose={"enum": list(Purpose.values)}),
        why="`purpose` may also be `evals`.",
    )
    yield Difference(
        name="MessageContentTextAnnotationsFileCitationObject",
        patch=properties(file_citation=properties(quote=TEXT)),
        why="`file_citation.quote` is returned, as in version 1.",
    )
    either = {"anyOf": {0: {"properties": {"file_search": {"oneOf": None}}}}}
    for name in ("CreateAssistantRequest", "CreateThreadRequest"):
        yield Difference(
            name=name,
            patch=properties(tool_resources=either),
            why="`tool_resources.file_search` may be empty.",
        )


def _nullable() -> Iterator[Difference]:
    yield Difference(
        name="OpenAIFile",
        patch=properties(expires_at=NUMBER_OR_NULL, status_details=TEXT_OR_NULL),
        why="`expires_at` and `status_details` are always present, and may be null.",
    )
    after = or_null(ref("VectorStoreExpirationAfter"))
    for name in ("VectorStoreObject", "UpdateVectorStoreRequest", "CreateVectorStoreRequest"):
        yield Difference(
            name=name,
            patch=properties(expires_after={"$ref": None, "allOf": None, **after}),
            why="`expires_after` may be null: the store never expires.",
        )
    for kind in LISTS:
        yield Difference(
            name=f"List{kind}Response",
            patch=properties(first_id=TEXT_OR_NULL, last_id=TEXT_OR_NULL),
            why="`first_id` and `last_id` of an empty list are null.",
        )


def apply_overrides(published: dict[str, Schema]) -> dict[str, Schema]:
    """Return the published components with our additions and patches."""
    components = {**published, **ADDED}
    for difference in differences():
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
