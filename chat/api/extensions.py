"""Operations that the published document, cut to the Assistants API, does not have."""

from __future__ import annotations

from typing import Any

from chat.api.published import published
from chat.api.runs import EVENT_HEADER

Operation = dict[str, Any]
REF = "#/components/schemas/"


def answer(schema: str) -> dict[str, Any]:
    """Return the answers of an operation that returns this component."""
    content = {"application/json": {"schema": {"$ref": REF + schema}}}
    return {"200": {"description": "OK", "content": content}}


def text_parameter(name: str, where: str, description: str, **more: Any) -> dict[str, Any]:
    """Return a parameter that is a text."""
    schema = {"type": "string", **more}
    found = {"name": name, "in": where, "schema": schema, "description": description}
    return {**found, "required": True} if where == "path" else found


THREAD_ID = text_parameter("thread_id", "path", "The ID of the thread.")
RUN_ID = text_parameter("run_id", "path", "The ID of the run.")
PAGE: list[dict[str, Any]] = [
    parameter
    for parameter in published()["paths"]["/assistants"]["get"]["parameters"]
    if parameter["name"] in ("limit", "after", "before")
]

UPLOAD_ID = text_parameter("upload_id", "path", "The ID of the upload.")


def body_of(schema: str) -> dict[str, Any]:
    """Return the body of an operation that takes this component."""
    content = {"application/json": {"schema": {"$ref": REF + schema}}}
    return {"required": True, "content": content}


PART: dict[str, Any] = {
    "type": "object",
    "properties": {"data": {"type": "string", "format": "binary"}},
    "required": ["data"],
}

EXTENSIONS: dict[str, dict[str, Operation]] = {
    "/models": {
        "get": {
            "operationId": "listModels",
            "summary": "Returns the models that the company may use.",
            "responses": answer("ListModelsResponse"),
        }
    },
    "/models/{model}": {
        "get": {
            "operationId": "retrieveModel",
            "summary": "Returns one model.",
            "parameters": [text_parameter("model", "path", "The model's name.")],
            "responses": answer("Model"),
        }
    },
    "/uploads": {
        "post": {
            "operationId": "createUpload",
            "summary": "Announces a file that comes in parts, within an hour.",
            "requestBody": body_of("CreateUploadRequest"),
            "responses": answer("Upload"),
        }
    },
    "/uploads/{upload_id}/parts": {
        "post": {
            "operationId": "addUploadPart",
            "summary": "Adds a part of at most 64 MiB.",
            "parameters": [UPLOAD_ID],
            "requestBody": {
                "required": True,
                "content": {"multipart/form-data": {"schema": PART}},
            },
            "responses": answer("UploadPart"),
        }
    },
    "/uploads/{upload_id}/complete": {
        "post": {
            "operationId": "completeUpload",
            "summary": "Joins the parts to a file.",
            "parameters": [UPLOAD_ID],
            "requestBody": body_of("CompleteUploadRequest"),
            "responses": answer("Upload"),
        }
    },
    "/uploads/{upload_id}/cancel": {
        "post": {
            "operationId": "cancelUpload",
            "summary": "Gives the upload up.",
            "parameters": [UPLOAD_ID],
            "responses": answer("Upload"),
        }
    },
    "/threads": {
        "get": {
            "operationId": "listThreads",
            "summary": "Extension: returns one's threads, the last active first.",
            "parameters": [
                *PAGE,
                text_parameter("query", "query", "Words that the thread's title or messages have."),
            ],
            "responses": answer("ListThreadsResponse"),
        }
    },
    "/threads/{thread_id}/copy": {
        "post": {
            "operationId": "copyThread",
            "summary": "Extension: copies a thread with its messages.",
            "parameters": [THREAD_ID],
            "responses": answer("ThreadObject"),
        }
    },
    "/threads/{thread_id}/runs/{run_id}/events": {
        "get": {
            "operationId": "resumeRunStream",
            "summary": "Extension: streams a run's events, from its beginning or from where a "
            "broken stream ended.",
            "parameters": [
                THREAD_ID,
                RUN_ID,
                text_parameter(EVENT_HEADER, "header", "The id of the last event received."),
            ],
            "responses": {
                "200": {
                    "description": "OK",
                    "content": {"text/event-stream": {"schema": {"type": "string"}}},
                }
            },
        }
    },
}
