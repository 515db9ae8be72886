"""OpenAPI document at /v1/openapi.json, built from our routes and the published specification.

Routes and methods come from the code. Requests and responses of published routes come from
`reference`, patched by `overrides`; our own routes are in `extensions`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema

from chat.api.idempotency import KEY_HEADER, RETRIED_WITHIN, RETRY_HEADER
from chat.api.openapi.extensions import (
    EVENT_IDS,
    EXTENSION_OPERATIONS,
    Operation,
    build_text_parameter,
)
from chat.api.openapi.overrides import apply_overrides
from chat.api.openapi.reference import build_ref, load_reference
from tenants.actions.external import USER_HEADER

# Operations that return an event stream if the body contains `stream: true`.
STREAMING = {"createRun", "createThreadAndRun", "submitToolOuputsToRun"}
# Operations that return an object with a version, and those that change or create one.
CHANGING_VERSIONS = {"modifyAssistant", "modifyVectorStore"}
CREATING_VERSIONS = {"createAssistant", "createVectorStore"}
VERSIONED = {"getAssistant", "getVectorStore", *CHANGING_VERSIONS, *CREATING_VERSIONS}
IF_MATCH = build_text_parameter(
    "If-Match",
    "header",
    "Extension: the ETag of the version last read. If the object has changed since, the "
    "response is 412 and nothing changes; `*` or no header updates any version.",
    pattern=r'^(\*|"[0-9]{1,9}")$',
)
RETRY_COUNT = build_text_parameter(
    RETRY_HEADER,
    "header",
    "Extension: how often an official client has sent this request before. Above 0, it is a "
    f"retry of the identical request within the {RETRIED_WITHIN.seconds} seconds before it: it "
    "returns the same response and changes nothing twice. 0 is a new request. "
    f"Without {KEY_HEADER}, a request without this header, or with one that is not a number, is "
    "always new.",
)
ETAG = {
    "description": "Extension: the object's version, for If-Match.",
    "schema": {"type": "string"},
}


class ViewSchema(AutoSchema):
    """Schema of a view: the published operation at its path, or our extension."""

    def get_operation(
        self, path: str, path_regex: str, path_prefix: str, method: str, registry: Any
    ) -> Operation | None:
        """Return the operation.

        Raises:
            KeyError: the route is neither published nor described as an extension.
        """
        at, verb = path.removeprefix("/v1"), method.lower()
        known = load_reference()["paths"].get(at, {}).get(verb) or EXTENSION_OPERATIONS[at][verb]
        operation = {"tags": ["Assistants"], **known}
        streamed = [EVENT_IDS] if known["operationId"] in STREAMING else []
        matched = [IF_MATCH] if known["operationId"] in CHANGING_VERSIONS else []
        operation["parameters"] = [
            *known.get("parameters", []),
            *streamed,
            *matched,
            *self._build_headers(verb),
        ]
        operation["responses"] = {**self._build_responses(known), **build_error_responses()}
        return operation

    def _build_headers(self, verb: str) -> list[dict[str, Any]]:
        headers = []
        if getattr(self.view, "beta", True):
            beta = build_text_parameter(
                "OpenAI-Beta", "header", "The protocol version.", enum=["assistants=v2"]
            )
            headers.append({**beta, "required": True})
        headers.append(
            build_text_parameter(
                USER_HEADER,
                "header",
                "Extension: the app's end user to act on behalf of; requires a key with the "
                "scope act_for_users.",
                pattern="^[!-~]{1,200}$",
            )
        )
        if verb == "post":
            headers.append(
                build_text_parameter(
                    KEY_HEADER,
                    "header",
                    "Extension: repeating a request with the same key within a day returns the "
                    "same response and changes nothing twice.",
                    pattern="^[!-~]{1,255}$",
                )
            )
            if getattr(self.view, "guards_retries", False):
                headers.append(RETRY_COUNT)
        return headers

    def _build_responses(self, known: Operation) -> dict[str, Any]:
        responses: dict[str, Any] = known["responses"]
        if known["operationId"] in VERSIONED:
            responses = {**responses, "200": {**responses["200"], "headers": {"ETag": ETAG}}}
        more: dict[str, Any] = {}
        if known["operationId"] in STREAMING:
            more = {"text/event-stream": {"schema": {"type": "string"}}}
        elif known["operationId"] == "downloadFile":
            more = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        if not more:
            return responses
        success = responses["200"]
        return {**responses, "200": {**success, "content": {**success["content"], **more}}}


def build_error_responses() -> dict[str, Any]:
    """Return the error responses that every operation may give."""
    content = {"application/json": {"schema": build_ref("ErrorResponse")}}
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
    """Return the complete document."""
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    document: dict[str, Any] = generator.get_schema(public=True)  # type: ignore[no-untyped-call]
    document["components"] = {
        "schemas": apply_overrides(load_reference()["components"]["schemas"]),
        "securitySchemes": {"ApiKeyAuth": {"type": "http", "scheme": "bearer"}},
    }
    document["security"] = [{"ApiKeyAuth": []}]
    return document
