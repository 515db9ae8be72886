"""Renders answers in both wire formats, with the gaps of the dialects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from tests.upstream.script import Answer, Call, Dialect, Wire


def frames(
    answer: Answer, *, wire: Wire, dialect: Dialect, model: str, kept: str | None
) -> list[tuple[bytes, bool]]:
    """(frame, is a chunk of the answer) in order, the final event last."""
    events = (
        _responses(answer, dialect, model, kept)
        if wire == "responses"
        else _chat(answer, dialect, model)
    )
    found: list[tuple[bytes, bool]] = []
    if answer.noise:
        found += [(b": keep-alive\n\n", False), (b"event: ping\n\n", False), (b"id: 7\n\n", False)]
    chunks = 0
    for payload, is_chunk in events:
        if is_chunk and answer.broken_after == chunks:
            found.append((b'data: {"type": "response.output_te\n\n', True))
            return found
        chunks += is_chunk
        frame = _frame(payload, wire, answer.newline)
        found.append((frame, is_chunk))
        if answer.doubled and not is_chunk:
            found.append((frame, False))
        if answer.noise:
            found.append((_frame({"type": "response.future.event", "x": 1}, wire, "\n"), False))
    if answer.dup_events:
        found = [frame for frame in found for _twice in range(2)]
    if answer.reorder_events:
        # The first frame stays, then each pair changes places.
        for place in range(1, len(found) - 1, 2):
            found[place], found[place + 1] = found[place + 1], found[place]
    if answer.broken_after is not None:
        found.append((b'data: {"type": "resp\n\n', True))
    return found


def whole(answer: Answer, *, wire: Wire, model: str) -> dict[str, Any]:
    """The unstreamed answer."""
    if wire == "responses":
        return _response_object(answer, "openai", model, None)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(answer.say) or None}
    if answer.calls:
        message["tool_calls"] = [
            {"id": _id(call), "type": "function", "function": _function(call)}
            for call in answer.calls
        ]
    return {
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": _finish(answer, "openai")}],
        "usage": _chat_usage(answer),
    }


def token_frame(text: str, wire: Wire) -> bytes:
    if wire == "responses":
        return _frame(
            {
                "type": "response.output_text.delta",
                "item_id": "msg_1",
                "output_index": 0,
                "content_index": 0,
                "delta": text,
            },
            wire,
            "\n",
        )
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return _frame({"object": "chat.completion.chunk", "choices": [choice]}, wire, "\n")


def _frame(payload: dict[str, Any] | str, wire: Wire, newline: str) -> bytes:
    text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
    head = ""
    if wire == "responses" and isinstance(payload, dict) and "type" in payload:
        head = f"event: {payload['type']}{newline}"
    return f"{head}data: {text}{newline}{newline}".encode("utf-8", "surrogatepass")


Payloads = Iterator[tuple[dict[str, Any] | str, bool]]


def _chat(answer: Answer, dialect: Dialect, model: str) -> Payloads:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {"object": "chat.completion.chunk", "model": model, "choices": [choice]}

    yield chunk({"role": "assistant", "content": "" if dialect != "gemini" else None}), False
    for text in answer.say:
        yield chunk({"content": text}), True
    for text in answer.refuse:
        yield chunk({"refusal": text}), True
    for number, call in enumerate(answer.calls):
        for part in _chat_call(call, number, dialect):
            yield chunk({"tool_calls": [part]}), True
    if answer.error is not None:
        yield {"error": answer.error}, False
        return
    if answer.final:
        yield chunk({}, _finish(answer, dialect)), False
        if answer.usage is not None:
            yield (
                {"object": "chat.completion.chunk", "choices": [], "usage": _chat_usage(answer)},
                False,
            )
        if answer.done:
            yield "[DONE]", False


def _chat_call(call: Call, number: int, dialect: Dialect) -> Iterator[dict[str, Any]]:
    if dialect == "gemini":
        yield {"id": call.id or "", "type": "function", "function": _function(call)}
        return
    if dialect == "ollama":
        yield {"index": 0, "id": _id(call), "type": "function", "function": _function(call)}
        return
    first = {"name": call.name, "arguments": ""}
    yield {"index": number, "id": _id(call), "type": "function", "function": first}
    for piece in _pieces(call):
        yield {"index": number, "function": {"arguments": piece}}


def _responses(answer: Answer, dialect: Dialect, model: str, kept: str | None) -> Payloads:
    count = 0

    def event(kind: str, **rest: Any) -> dict[str, Any]:
        nonlocal count
        payload = {"type": kind, "sequence_number": count, **rest}
        count += 1
        if dialect == "llamacpp":
            for name in ("sequence_number", "output_index", "content_index"):
                payload.pop(name, None)
        return payload

    shell = {"id": "resp_1", "object": "response", "model": model, "status": "in_progress"}
    yield event("response.created", response=shell), False
    yield event("response.in_progress", response=shell), False
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    if answer.say or answer.refuse:
        item = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
        yield event("response.output_item.added", output_index=0, item=item), False
    for text in answer.say:
        yield event("response.output_text.delta", **place, delta=text), True
    if answer.say:
        text = "".join(answer.say)
        yield event("response.output_text.done", **place, text=text), False
    for text in answer.refuse:
        yield event("response.refusal.delta", **place, delta=text), True
    for number, call in enumerate(answer.calls, start=1):
        for payload, is_chunk in _response_call(call, number):
            yield event(**payload), is_chunk
    if answer.error is not None:
        yield event("error", **answer.error), False
        return
    if answer.final:
        response = _response_object(answer, dialect, model, kept)
        yield event(f"response.{response['status']}", response=response), False


def _response_call(call: Call, number: int) -> Iterator[tuple[dict[str, Any], bool]]:
    item_id = f"fc_{number}"
    item = {"id": item_id, "type": "function_call", "call_id": _id(call), "name": call.name}
    place = {"item_id": item_id, "output_index": number}
    added = {"output_index": number, "item": item | {"arguments": ""}}
    yield {"kind": "response.output_item.added", **added}, True
    for piece in _pieces(call):
        yield {"kind": "response.function_call_arguments.delta", **place, "delta": piece}, True
    done = {"output_index": number, "item": item | {"arguments": call.arguments}}
    arguments = {**place, "arguments": call.arguments}
    yield {"kind": "response.function_call_arguments.done", **arguments}, False
    yield {"kind": "response.output_item.done", **done}, False


def _response_object(
    answer: Answer, dialect: Dialect, model: str, kept: str | None
) -> dict[str, Any]:
    cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(answer.finish)
    status = "incomplete" if cut and dialect != "llamacpp" else "completed"
    found: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "model": model,
        "status": status,
        "output": output_items(answer),
    }
    if status == "incomplete":
        found["incomplete_details"] = {"reason": cut}
    if answer.usage is not None:
        given, made, cached, reasoning = answer.usage
        found["usage"] = {
            "input_tokens": given,
            "output_tokens": made,
            "total_tokens": given + made,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens_details": {"reasoning_tokens": reasoning},
        }
    if kept is not None:
        found["conversation"] = {"id": kept}
    return found


def output_items(answer: Answer) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if answer.say:
        part = {"type": "output_text", "text": "".join(answer.say), "annotations": []}
        items.append({"type": "message", "role": "assistant", "content": [part]})
    for call in answer.calls:
        function = _function(call)
        items.append({"type": "function_call", "call_id": _id(call), **function})
    return items


def _chat_usage(answer: Answer) -> dict[str, Any] | None:
    if answer.usage is None:
        return None
    given, made, cached, reasoning = answer.usage
    return {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": given + made,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def _finish(answer: Answer, dialect: Dialect) -> str:
    if answer.calls and answer.finish == "stop" and dialect not in ("gemini", "ollama"):
        return "tool_calls"
    return answer.finish


def _function(call: Call) -> dict[str, str]:
    return {"name": call.name, "arguments": call.arguments}


def _id(call: Call) -> str:
    return f"call_{uuid4().hex[:12]}" if call.id is None else call.id


def _pieces(call: Call) -> list[str]:
    size = max(1, -(-len(call.arguments) // call.pieces))
    return [call.arguments[i : i + size] for i in range(0, len(call.arguments), size)]
