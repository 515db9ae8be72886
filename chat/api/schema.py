"""The description at /v1/openapi.json: our routes, told in the published document's words.

Routes and methods come from the code. What a published route takes and answers comes from
`published.json`, changed as `differences` says; routes of our own are described below.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema

from chat.api.differences import patched
from chat.api.idempotency import KEY_HEADER
from chat.api.runs import EVENT_HEADER
from tenants.actions.external import USER_HEADER

Operation = dict[str, Any]
REF = "#/components/schemas/"
# Operations that answer with a stream of events where the body says `stream: true`.
STREAMING = {"createRun", "createThreadAndRun", "submitToolOuputsToRun"}


@cache
def published() -> dict[str, Any]:
    """Return the data file, its "nullable" in the words of JSON Schema, as OpenAPI 3.1 has it."""
    found: dict[str, Any] = _may_be_null(
        json.loads(Path(__file__).with_name("published.json").read_text())
    )
    return found


def _may_be_null(value: Any) -> Any:
    if isinstance(value, list):
        return [_may_be_null(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: _may_be_null(item) for key, item in value.items() if key != "nullable"}
    return {"anyOf": [found, {"type": "null"}]} if value.get("nullable") is True else found


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

# Routes that the published document, cut to the Assistants API, does not have.
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


class Described(AutoSchema):
    """Describes a view by the published operation at its address, or by the one above."""

    def get_operation(
        self, path: str, path_regex: str, path_prefix: str, method: str, registry: Any
    ) -> Operation | None:
        """Return the operation; KeyError for a route that nobody described."""
        at, verb = path.removeprefix("/v1"), method.lower()
        known = published()["paths"].get(at, {}).get(verb) or EXTENSIONS[at][verb]
        operation = {"tags": ["Assistants"], **known}
        operation["parameters"] = [*known.get("parameters", []), *self._headers(verb)]
        operation["responses"] = {**self._answers(known), **errors()}
        return operation

    def _headers(self, verb: str) -> list[dict[str, Any]]:
        headers = []
        if getattr(self.view, "beta", True):
            beta = text_parameter(
                "OpenAI-Beta", "header", "The protocol's version.", enum=["assistants=v2"]
            )
            headers.append({**beta, "required": True})
        headers.append(
            text_parameter(
                USER_HEADER,
                "header",
                "Extension: the user of the program for whom it acts; needs a key with the "
                "scope act_for_users.",
                pattern="^[!-~]{1,200}$",
            )
        )
        if verb == "post":
            headers.append(
                text_parameter(
                    KEY_HEADER,
                    "header",
                    "Extension: the same key with the same request within a day gets the same "
                    "answer and does nothing twice.",
                    pattern="^[!-~]{1,255}$",
                )
            )
        return headers

    def _answers(self, known: Operation) -> dict[str, Any]:
        responses: dict[str, Any] = known["responses"]
        more: dict[str, Any] = {}
        if known["operationId"] in STREAMING:
            more = {"text/event-stream": {"schema": {"type": "string"}}}
        elif known["operationId"] == "downloadFile":
            more = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        if not more:
            return responses
        done = responses["200"]
        return {**responses, "200": {**done, "content": {**done["content"], **more}}}


def errors() -> dict[str, Any]:
    """Return the answers that every operation may give beside its own."""
    content = {"application/json": {"schema": {"$ref": REF + "ErrorResponse"}}}
    return {
        "4XX": {"description": "The request was refused.", "content": content},
        "429": {
            "description": "Too many requests.",
            "headers": {"Retry-After": {"schema": {"type": "string"}}},
            "content": content,
        },
        "5XX": {"description": "The server failed.", "content": content},
    }


@cache
def description() -> dict[str, Any]:
    """Return the whole document."""
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    made: dict[str, Any] = generator.get_schema(public=True)  # type: ignore[no-untyped-call]
    made["components"] = {
        "schemas": patched(published()["components"]["schemas"]),
        "securitySchemes": {"ApiKeyAuth": {"type": "http", "scheme": "bearer"}},
    }
    made["security"] = [{"ApiKeyAuth": []}]
    return made
