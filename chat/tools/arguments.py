"""Parsing and validation of tool call arguments, without type coercion."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
from jsonschema import Draft202012Validator

from chat.conf import conf
from chat.errors import InvalidJson
from chat.json_input import parse_json_object
from chat.tools.base import Tool, ToolError
from chat.tools.reserved import find_reserved_keys

_SECRET = re.compile(r"pass|secret|token|key|credential|auth|pin\b|cvv|iban", re.IGNORECASE)
_MAX_COPY_LENGTH, _MAX_COPY_DEPTH, _MAX_COPIED_ITEMS = 200, 6, 50

# Unlike in JSON Schema, 1.0 is not an integer here; a boolean is neither integer nor number.
_TYPES = Draft202012Validator.TYPE_CHECKER.redefine(
    "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
)
_Validator = jsonschema.validators.extend(Draft202012Validator, type_checker=_TYPES)


class ReservedArgument(ToolError):
    """The arguments claim an identity or a credential. `names` are the keys used."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        super().__init__(
            "reserved_argument",
            "The call is refused: the caller's identity must not be an argument. Leave it out.",
        )


def parse_arguments(tool: Tool, raw: str) -> dict[str, Any]:
    """Parse the arguments of a call and validate them against the tool's schema.

    Raises:
        ReservedArgument: an argument names the caller or a credential.
        ToolError: "invalid_arguments": they are not JSON or do not match the schema. The message
            tells the model what to correct.
    """
    try:
        # Some servers send nothing for a tool without parameters.
        given = raw if raw.strip() else "{}"
        parsed = parse_json_object(given, max_bytes=conf.tool_argument_bytes)
    except InvalidJson as error:
        raise ToolError("invalid_arguments", error.message) from None
    injected = {each.name for each in tool.parameters if each.injected is not None}
    reserved = sorted({*find_reserved_keys(parsed), *(injected & parsed.keys())})
    if reserved:
        raise ReservedArgument(reserved)
    found = jsonschema.exceptions.best_match(_Validator(tool.schema).iter_errors(parsed))
    if found is not None:
        raise ToolError("invalid_arguments", _describe_error(found))
    return parsed


def redact(value: Any, depth: int = 0) -> Any:
    """Return a copy for the audit log: secrets hidden, long texts and lists truncated."""
    if isinstance(value, dict):
        if depth >= _MAX_COPY_DEPTH:
            return "…"
        return {
            _cut(key): "[hidden]" if _SECRET.search(key) else redact(item, depth + 1)
            for key, item in list(value.items())[:_MAX_COPIED_ITEMS]
        }
    if isinstance(value, list):
        if depth >= _MAX_COPY_DEPTH:
            return "…"
        return [redact(item, depth + 1) for item in value[:_MAX_COPIED_ITEMS]]
    return _cut(value) if isinstance(value, str) else value


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_COPY_LENGTH else text[:_MAX_COPY_LENGTH] + "…"


def _describe_error(error: jsonschema.ValidationError) -> str:
    where = ".".join(str(step) for step in error.absolute_path) or "arguments"
    rule, wanted = str(error.validator), error.validator_value
    if rule == "required":
        return f"{where}: {error.message.rsplit(' is a required', 1)[0].strip()} is missing."
    if rule == "additionalProperties":
        known = ", ".join(sorted(error.schema["properties"])) or "none"
        return f"{where}: unknown property; known properties: {known}."
    if rule == "type":
        return f"{where}: this must be of type {wanted}."
    if rule == "enum":
        return f"{where}: this must be one of {', '.join(map(str, wanted))}."
    if rule in ("minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems"):
        return f"{where}: this violates {rule} {wanted}."
    if rule == "pattern":
        return f"{where}: this must match the pattern {wanted}."
    return f"{where}: this does not match the schema."
