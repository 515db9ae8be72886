"""Validation of tool definitions and response formats; limits are those of decisions/0003."""

from __future__ import annotations

import json
import re
from typing import Any

from chat.actions.fields import (
    clean_choice,
    clean_integer,
    clean_list,
    clean_number,
    clean_object,
    clean_text,
)
from chat.errors import InvalidInput, MissingParameter
from chat.tools import registry
from chat.tools.schema_check import InvalidSchema, check_schema

MAX_TOOLS, MAX_RUN_TOOLS = 128, 20
MAX_DESCRIPTION, MAX_SCHEMA_BYTES = 16_384, 65_536
MAX_TOOLS_BYTES, MAX_OBJECTS = 262_144, 500
MAX_NAME_CHARACTERS = 64
RANKERS = ("auto", "default_2024_08_21")
# Tools enabled by type: they search attached files or run code on them.
BUILT_IN_TOOLS = ("file_search", "code_interpreter")
TOOL_TYPES = ("function", *BUILT_IN_TOOLS)
RESPONSE_FORMATS = ("text", "json_object", "json_schema")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")


def clean_tools(value: Any, *, limit: int, param: str = "tools") -> list[dict[str, Any]]:
    """Validate a list of tools and return the value to store.

    A function registered on this server is stored by name only, because its code defines
    it. Other functions belong to the caller and are stored with their definition, even if
    they have the name of a built-in tool.

    Raises:
        InvalidInput: a value is invalid; `param` names it, e.g. "tools[0].function.name".
    """
    _check_size(value, "All tools together can have", most=MAX_TOOLS_BYTES, param=param)
    tools = [
        _clean_tool(item, param=f"{param}[{index}]")
        for index, item in enumerate(clean_list(value, param=param, limit=limit))
    ]
    names = [tool["function"]["name"] if "function" in tool else tool["type"] for tool in tools]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InvalidInput(f"Duplicate tool '{name}'.", param=f"{param}[{index}]")
    return tools


def _clean_tool(value: Any, *, param: str) -> dict[str, Any]:
    tool = clean_object(value, param=param, allowed=("type", "function", "file_search"))
    kind = clean_choice(tool.get("type"), param=f"{param}.type", choices=TOOL_TYPES)
    unwanted = tool.keys() - {"type", kind}
    if unwanted:
        name = min(unwanted)
        raise InvalidInput(
            f"Tools of type '{kind}' do not accept '{name}'.", param=f"{param}.{name}"
        )
    if kind == "function":
        return {
            "type": kind,
            "function": _clean_function(tool.get("function"), f"{param}.function"),
        }
    if kind == "file_search" and tool.get("file_search") is not None:
        return {"type": kind, kind: _clean_file_search(tool[kind], f"{param}.{kind}")}
    return {"type": kind}


def _clean_function(value: Any, param: str) -> dict[str, Any]:
    allowed = ("name", "description", "parameters", "strict")
    given = clean_object(value, param=param, allowed=allowed)
    name = clean_name(given.get("name"), param=f"{param}.name")
    if registry.find(name) is not None and not registry.is_builtin(name):
        return {"name": name}
    function: dict[str, Any] = {"name": name}
    if given.get("description") is not None:
        function["description"] = clean_text(
            given["description"], param=f"{param}.description", limit=MAX_DESCRIPTION
        )
    if given.get("parameters") is not None:
        function["parameters"] = clean_schema(given["parameters"], param=f"{param}.parameters")
    function["strict"] = _clean_strict(given, param)
    return function


def _clean_file_search(value: Any, param: str) -> dict[str, Any]:
    allowed = ("max_num_results", "ranking_options")
    given = clean_object(value, param=param, allowed=allowed)
    found: dict[str, Any] = {}
    count, place = given.get("max_num_results"), f"{param}.max_num_results"
    if count is not None:
        found["max_num_results"] = clean_integer(count, param=place, least=1, most=50)
    if given.get("ranking_options") is not None:
        found["ranking_options"] = _clean_ranking(
            given["ranking_options"], f"{param}.ranking_options"
        )
    return found


def _clean_ranking(value: Any, param: str) -> dict[str, Any]:
    given = clean_object(value, param=param, allowed=("ranker", "score_threshold"))
    place = f"{param}.score_threshold"
    threshold = clean_number(given.get("score_threshold"), param=place, least=0, most=1)
    if threshold is None:
        raise MissingParameter(param=place)
    ranker = given.get("ranker") or "auto"
    return {
        "ranker": clean_choice(ranker, param=f"{param}.ranker", choices=RANKERS),
        "score_threshold": threshold,
    }


def clean_response_format(value: Any, *, param: str = "response_format") -> Any:
    """Validate a response format: "text", "json_object" or "json_schema"; "auto" becomes None.

    Raises:
        InvalidInput: a value is invalid; `param` names it.
    """
    if value is None or value == "auto":
        return None
    given = clean_object(value, param=param, allowed=("type", "json_schema"))
    kind = clean_choice(given.get("type"), param=f"{param}.type", choices=RESPONSE_FORMATS)
    if kind != "json_schema":
        if "json_schema" in given:
            raise InvalidInput(
                "Only allowed with type 'json_schema'.", param=f"{param}.json_schema"
            )
        return {"type": kind}
    allowed = ("name", "description", "schema", "strict")
    inner = f"{param}.json_schema"
    described = clean_object(given.get("json_schema"), param=inner, allowed=allowed)
    form: dict[str, Any] = {"name": clean_name(described.get("name"), param=f"{inner}.name")}
    if described.get("description") is not None:
        form["description"] = clean_text(
            described["description"], param=f"{inner}.description", limit=MAX_DESCRIPTION
        )
    if described.get("schema") is not None:
        form["schema"] = clean_schema(described["schema"], param=f"{inner}.schema")
    form["strict"] = _clean_strict(described, inner)
    return {"type": kind, "json_schema": form}


def clean_name(value: Any, *, param: str) -> str:
    """Return `value` if it is a valid function or schema name, else raise InvalidInput."""
    if not isinstance(value, str) or not _NAME.match(value):
        raise InvalidInput(
            f"A name must have 1 to {MAX_NAME_CHARACTERS} letters, digits, underscores or dashes.",
            param=param,
        )
    return value


def clean_schema(value: Any, *, param: str) -> dict[str, Any]:
    """Return `value` if it is a self-contained JSON Schema of an object.

    Raises:
        InvalidInput: the schema is invalid, too large, or has references to other documents.
    """
    schema = clean_object(value, param=param)
    _check_size(schema, "A schema can have", most=MAX_SCHEMA_BYTES, param=param)
    if schema.get("type", "object") != "object":
        raise InvalidInput("The schema must be of type 'object'.", param=param)
    if _has_external_reference(schema):
        raise InvalidInput("References in a schema must be local: '#/…'.", param=param)
    try:
        check_schema(schema)
    except InvalidSchema as error:
        raise InvalidInput(f"Invalid JSON Schema {error}.", param=param) from None
    except (RecursionError, OverflowError):
        # Python raises these for a regular expression that is too large.
        raise InvalidInput("A pattern in this schema is too large.", param=param) from None
    return schema


def _check_size(value: Any, subject: str, *, most: int, param: str) -> None:
    text = json.dumps(value)
    if len(text) > most:
        raise InvalidInput(f"{subject} at most {most} bytes.", param=param)
    if text.count("{") > MAX_OBJECTS:
        raise InvalidInput(f"{subject} at most {MAX_OBJECTS} objects.", param=param)


def _has_external_reference(value: Any) -> bool:
    if isinstance(value, dict):
        links = (value.get("$ref"), value.get("$dynamicRef"))
        outside = any(isinstance(link, str) and not link.startswith("#") for link in links)
        return outside or any(_has_external_reference(inner) for inner in value.values())
    return isinstance(value, list) and any(_has_external_reference(inner) for inner in value)


def _clean_strict(given: dict[str, Any], param: str) -> bool:
    strict = given.get("strict")
    if strict is not None and not isinstance(strict, bool):
        raise InvalidInput("Must be a boolean.", param=f"{param}.strict")
    return bool(strict)
