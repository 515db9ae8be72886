"""Tool calls of run steps: functions, and built-in tools in the Assistants API's own forms."""

from __future__ import annotations

import json
from collections.abc import Callable

from chat.models import ToolCall
from chat.wire.base import WireObject

RANKER = "default_2024_08_21"


def call_object(
    call: ToolCall, labels: dict[str, str], *, with_content: bool = False
) -> WireObject:
    """Return a tool call of a step; `with_content` adds the text of found passages.

    A call that was not made to a built-in tool, such as a client's own function of the same
    name, is rendered as a function.
    """
    form = _FORMS.get(call.name) if call.version else None
    if form is None:
        kind, body = "function", _function(call)
        extra: WireObject = {}
    else:
        kind = call.name
        body, extra = form(call, call.details or {}, with_content)
    return {
        "id": call.id,
        "type": kind,
        kind: body,
        "atrium": {
            "status": call.status,
            "label": labels.get(call.name, call.name),
            "effect": call.effect,
            "duration_ms": call.duration_ms,
            **extra,
        },
    }


def call_delta(index: int, call: WireObject) -> WireObject:
    """Return the delta that adds a call to a step, without its results."""
    kind = call["type"]
    delta: WireObject = {"index": index, "id": call["id"], "type": kind}
    if kind == "function":
        delta[kind] = {**call[kind], "output": None}
    elif kind == "code_interpreter":
        delta[kind] = {"input": call[kind]["input"], "outputs": []}
    else:
        delta[kind] = {}
    return delta


def call_outputs_delta(index: int, call: WireObject) -> WireObject | None:
    """Return the delta that adds the outputs of code, or None if there are none."""
    kind = call["type"]
    outputs = call[kind].get("outputs")
    if not outputs:
        return None
    outputs_delta = [{"index": position, **output} for position, output in enumerate(outputs)]
    return {"index": index, "type": kind, kind: {"outputs": outputs_delta}}


def _function(call: ToolCall) -> WireObject:
    return {"name": call.name, "arguments": call.arguments, "output": call.output}


def _file_search(
    call: ToolCall, details: WireObject, with_content: bool
) -> tuple[WireObject, WireObject]:
    query = details.get("query", _get_argument(call, "query"))
    extra: WireObject = {"query": query, "passages": [], "error": call.error_code or None}
    if not details:
        return {}, extra
    ranking = details.get("ranking_options") or {}
    body = {
        "ranking_options": {
            "ranker": RANKER,
            "score_threshold": ranking.get("score_threshold", 0.0),
        },
        "results": search_results(details, with_content=with_content),
    }
    fields = ("mark", "file_id", "file_name", "store_file", "page", "start", "end")
    passages = [{name: detail[name] for name in fields} for detail in details["results"]]
    return body, {**extra, "passages": passages}


def search_results(details: WireObject, *, with_content: bool) -> list[WireObject]:
    """Return the results of a file search; `with_content` adds the text of the passages."""
    return [
        {
            "file_id": detail["file_id"],
            "file_name": detail["file_name"],
            "score": detail["score"],
            **({"content": [{"type": "text", "text": detail["text"]}]} if with_content else {}),
        }
        for detail in details.get("results", [])
    ]


def _code_interpreter(
    call: ToolCall, details: WireObject, with_content: bool
) -> tuple[WireObject, WireObject]:
    outputs: list[WireObject] = []
    if details.get("logs"):
        outputs.append({"type": "logs", "logs": details["logs"]})
    outputs += [
        {"type": "image", "image": {"file_id": file_id}} for file_id in details.get("images", [])
    ]
    body = {"input": details.get("input", _get_argument(call, "code")), "outputs": outputs}
    error = details.get("error") or call.error_code or None
    files, notes = details.get("files", []), details.get("notes", [])
    return body, {"files": files, "error": error, "notes": notes}


def _get_argument(call: ToolCall, name: str) -> str:
    """Return an argument of a call as the model sent it, or "" if it is missing."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        return ""
    return str(arguments.get(name, "")) if isinstance(arguments, dict) else ""


_Form = Callable[[ToolCall, WireObject, bool], tuple[WireObject, WireObject]]
_FORMS: dict[str, _Form] = {
    "file_search": _file_search,
    "code_interpreter": _code_interpreter,
}
