"""Conversion of version 1 (OpenAI-Beta: assistants=v1) at the edge, in both directions.

In version 1, file_search is `{"type": "retrieval"}`, and assistants and messages have `file_ids`
instead of tool resources and attachments.
"""

from __future__ import annotations

from typing import Any

from chat.errors import InvalidInput

Body = dict[str, Any]
_OBJECTS_WITH_FILES = {"assistant", "thread.message", "thread.run"}
_NO_FILES: Body = {
    "code_interpreter": {"file_ids": []},
    "file_search": {"vector_store_ids": []},
}


def from_version1(body: Body) -> Body:
    """Return a version 1 request body in the format of version 2.

    Raises:
        InvalidInput: `file_ids` is not a list, or is given beside its replacement.
    """
    converted = _rename_tools(body, {"retrieval": "file_search"})
    for name in ("messages", "additional_messages"):
        if isinstance(converted.get(name), list):
            converted[name] = [
                _convert_message(item, f"{name}[{i}].") for i, item in enumerate(converted[name])
            ]
    if isinstance(converted.get("thread"), dict):
        converted["thread"] = from_version1(converted["thread"])
    if "file_ids" not in converted:
        return converted
    return _convert_message(converted, "") if "role" in converted else _convert_assistant(converted)


def _convert_message(message: Any, place: str) -> Any:
    if not isinstance(message, dict) or "file_ids" not in message:
        return message
    file_ids = _pop_file_ids(message, place, beside="attachments")
    rest = {name: value for name, value in message.items() if name != "file_ids"}
    tools = [{"type": "file_search"}]
    return {**rest, "attachments": [{"file_id": item, "tools": tools} for item in file_ids]}


def _convert_assistant(body: Body) -> Body:
    file_ids = _pop_file_ids(body, "", beside="tool_resources")
    rest = {name: value for name, value in body.items() if name != "file_ids"}
    types = {tool.get("type") for tool in rest.get("tools") or () if isinstance(tool, dict)}
    resources: Body = dict(_NO_FILES)
    # An update without tools does not say which tools the assistant has.
    if file_ids and ("code_interpreter" in types or "tools" not in rest):
        resources["code_interpreter"] = {"file_ids": file_ids}
    if file_ids and ("code_interpreter" not in types or "file_search" in types):
        resources["file_search"] = {"vector_stores": [{"file_ids": file_ids}]}
    return {**rest, "tool_resources": resources}


def _pop_file_ids(body: Body, place: str, *, beside: str) -> list[Any]:
    if body.get(beside):
        raise InvalidInput(
            f"'file_ids' and '{beside}' cannot be used together.", param=f"{place}file_ids"
        )
    file_ids = body["file_ids"] or []
    if not isinstance(file_ids, list):
        raise InvalidInput("Expected an array of file IDs.", param=f"{place}file_ids")
    return file_ids


def to_version1(answer: Any) -> Any:
    """Return an object, a list of objects or an event's data in the format of version 1."""
    if not isinstance(answer, dict):
        return answer
    if answer.get("object") == "list":
        return {**answer, "data": [to_version1(item) for item in answer["data"]]}
    kind = answer.get("object")
    if kind == "thread.run.step":
        return {**answer, "step_details": _convert_details(answer["step_details"])}
    if kind not in _OBJECTS_WITH_FILES:
        return answer
    attached = [item["file_id"] for item in answer.get("attachments") or ()]
    return {"file_ids": attached, **_rename_tools(answer, {"file_search": "retrieval"})}


def _convert_details(details: Body) -> Body:
    if "tool_calls" not in details:
        return details
    return {**details, "tool_calls": [_convert_call(call) for call in details["tool_calls"]]}


def _convert_call(call: Body) -> Body:
    """Return a call; of a file search, version 1 shows only that it took place."""
    if call["type"] != "file_search":
        return call
    rest = {name: value for name, value in call.items() if name != "file_search"}
    return {**rest, "type": "retrieval", "retrieval": {}}


def _rename_tools(body: Body, names: dict[str, str]) -> Body:
    if not isinstance(body.get("tools"), list):
        return dict(body)
    return {**body, "tools": [_rename_tool(tool, names) for tool in body["tools"]]}


def _rename_tool(tool: Any, names: dict[str, str]) -> Any:
    kind = tool.get("type") if isinstance(tool, dict) else None
    return {**tool, "type": names[kind]} if isinstance(kind, str) and kind in names else tool
