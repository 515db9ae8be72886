"""Operations that are not in the published document, which is reduced to the Assistants API."""

from __future__ import annotations

from typing import Any

from chat.api.openapi.reference import build_ref, load_reference
from chat.api.runs import EVENT_HEADER

Operation = dict[str, Any]


def build_responses(schema: str) -> dict[str, Any]:
    """Return the responses of an operation that returns the component `schema`."""
    content = {"application/json": {"schema": build_ref(schema)}}
    return {"200": {"description": "OK", "content": content}}


def build_text_parameter(name: str, where: str, description: str, **more: Any) -> dict[str, Any]:
    """Return a string parameter."""
    schema = {"type": "string", **more}
    parameter = {"name": name, "in": where, "schema": schema, "description": description}
    return {**parameter, "required": True} if where == "path" else parameter


THREAD_ID = build_text_parameter("thread_id", "path", "The ID of the thread.")
RUN_ID = build_text_parameter("run_id", "path", "The ID of the run.")
ORDERED_PAGE: list[dict[str, Any]] = load_reference()["paths"]["/assistants"]["get"]["parameters"]
INCLUDE = [
    parameter
    for parameter in load_reference()["paths"]["/threads/{thread_id}/runs"]["post"]["parameters"]
    if parameter["name"] == "include[]"
]
EVENT_IDS = build_text_parameter(
    "event_ids",
    "query",
    "Extension: whether each event of the stream has an ID, for Last-Event-ID.",
    enum=["true", "false"],
)
PAGE = [parameter for parameter in ORDERED_PAGE if parameter["name"] != "order"]

ASSISTANT_ID = build_text_parameter("assistant_id", "path", "The ID of the assistant.")
MESSAGE_ID = build_text_parameter("message_id", "path", "The ID of the message.")
FILE_ID = build_text_parameter("file_id", "path", "The ID of the file.")
UPLOAD_ID = build_text_parameter("upload_id", "path", "The ID of the upload.")


def build_request_body(schema: str) -> dict[str, Any]:
    """Return the request body of an operation that takes the component `schema`."""
    content = {"application/json": {"schema": build_ref(schema)}}
    return {"required": True, "content": content}


PART: dict[str, Any] = {
    "type": "object",
    "properties": {"data": {"type": "string", "format": "binary"}},
    "required": ["data"],
}

EXTENSION_OPERATIONS: dict[str, dict[str, Operation]] = {
    "/models": {
        "get": {
            "operationId": "listModels",
            "summary": "Returns the models that the company may use.",
            "responses": build_responses("ListModelsResponse"),
        }
    },
    "/models/{model}": {
        "get": {
            "operationId": "retrieveModel",
            "summary": "Returns one model.",
            "parameters": [build_text_parameter("model", "path", "The model's name.")],
            "responses": build_responses("Model"),
        }
    },
    "/uploads": {
        "post": {
            "operationId": "createUpload",
            "summary": "Creates an upload for a file that is sent in parts within an hour.",
            "requestBody": build_request_body("CreateUploadRequest"),
            "responses": build_responses("Upload"),
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
            "responses": build_responses("UploadPart"),
        }
    },
    "/uploads/{upload_id}/complete": {
        "post": {
            "operationId": "completeUpload",
            "summary": "Completes the upload: joins the parts to a file.",
            "parameters": [UPLOAD_ID],
            "requestBody": build_request_body("CompleteUploadRequest"),
            "responses": build_responses("Upload"),
        }
    },
    "/uploads/{upload_id}/cancel": {
        "post": {
            "operationId": "cancelUpload",
            "summary": "Cancels the upload.",
            "parameters": [UPLOAD_ID],
            "responses": build_responses("Upload"),
        }
    },
    "/threads": {
        "get": {
            "operationId": "listThreads",
            "summary": "Extension: returns your threads, most recently active first.",
            "parameters": [
                *PAGE,
                build_text_parameter("query", "query", "Words to find in titles and messages."),
            ],
            "responses": build_responses("ListThreadsResponse"),
        }
    },
    "/threads/{thread_id}/copy": {
        "post": {
            "operationId": "copyThread",
            "summary": "Extension: copies a thread with its messages.",
            "parameters": [THREAD_ID],
            "responses": build_responses("ThreadObject"),
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
                *INCLUDE,
                build_text_parameter(EVENT_HEADER, "header", "The ID of the last event received."),
            ],
            "responses": {
                "200": {
                    "description": "OK",
                    "content": {"text/event-stream": {"schema": {"type": "string"}}},
                }
            },
        }
    },
    "/assistants/{assistant_id}/files": {
        "get": {
            "operationId": "listAssistantFiles",
            "summary": "Version 1: returns the files of an assistant.",
            "parameters": [ASSISTANT_ID, *ORDERED_PAGE],
            "responses": build_responses("ListAssistantFilesResponse"),
        },
        "post": {
            "operationId": "createAssistantFile",
            "summary": "Version 1: adds a file to an assistant, for use by its tools.",
            "parameters": [ASSISTANT_ID],
            "requestBody": build_request_body("CreateAssistantFileRequest"),
            "responses": build_responses("AssistantFileObject"),
        },
    },
    "/assistants/{assistant_id}/files/{file_id}": {
        "get": {
            "operationId": "getAssistantFile",
            "summary": "Version 1: retrieves a file of an assistant.",
            "parameters": [ASSISTANT_ID, FILE_ID],
            "responses": build_responses("AssistantFileObject"),
        },
        "delete": {
            "operationId": "deleteAssistantFile",
            "summary": "Version 1: removes a file from an assistant.",
            "parameters": [ASSISTANT_ID, FILE_ID],
            "responses": build_responses("DeleteAssistantFileResponse"),
        },
    },
    "/threads/{thread_id}/messages/{message_id}/files": {
        "get": {
            "operationId": "listMessageFiles",
            "summary": "Version 1: returns the files attached to a message.",
            "parameters": [THREAD_ID, MESSAGE_ID, *ORDERED_PAGE],
            "responses": build_responses("ListMessageFilesResponse"),
        }
    },
    "/threads/{thread_id}/messages/{message_id}/files/{file_id}": {
        "get": {
            "operationId": "getMessageFile",
            "summary": "Version 1: retrieves a file of a message.",
            "parameters": [THREAD_ID, MESSAGE_ID, FILE_ID],
            "responses": build_responses("MessageFileObject"),
        }
    },
}
