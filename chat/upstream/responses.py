"""Adapter for the Responses wire format: stateless, or with a conversation kept by the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chat.upstream.base import (
    Event,
    FinishReason,
    FunctionCall,
    FunctionOutput,
    InputMessage,
    Item,
    ModelRequest,
    Part,
    TextPart,
    ToolSpec,
)
from chat.upstream.classify import build_stream_error, detect_lost_conversation
from chat.upstream.comparison import get_missing_arguments, get_missing_end
from chat.upstream.errors import (
    ConversationLost,
    StreamBroken,
    UpstreamError,
    UpstreamUnavailable,
)
from chat.upstream.http import HttpUpstream
from chat.upstream.numbering import EventSequencer
from chat.upstream.response_parser import AnswerParser, StreamedCall, parse_usage


class ResponsesUpstream(HttpUpstream):
    """Adapter for `/responses`."""

    path = "/responses"

    def build_body(self, request: ModelRequest) -> dict[str, Any]:
        """Return the JSON body of the request."""
        body: dict[str, Any] = {
            "model": request.model,
            "input": [_build_item(item) for item in request.items],
            "stream": True,
        }
        if request.conversation is None:
            body["store"] = False
        else:
            body["conversation"] = request.conversation
        if request.tools:
            body["tools"] = [_build_tool(tool) for tool in request.tools]
            if request.tool_choice != "auto":
                body["tool_choice"] = _build_tool_choice(request.tool_choice)
            if not request.parallel_tool_calls:
                body["parallel_tool_calls"] = False
        sent = {
            "instructions": request.instructions,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "max_output_tokens": request.max_output_tokens,
            "reasoning": _wrap_schema("effort", request.reasoning_effort),
            "text": _wrap_schema("format", _build_format(request.response_format)),
            "safety_identifier": request.safety_id if self._endpoint.is_openai else None,
        }
        body |= {name: value for name, value in sent.items() if value is not None}
        if self._endpoint.is_openai:
            # Padding against traffic analysis more than doubles the bytes of a stream.
            body["stream_options"] = {"include_obfuscation": False}
        return body

    def create_parser(self, request: ModelRequest) -> AnswerParser:
        """Return a parser for the answer."""
        return ResponsesParser(
            secret=self._endpoint.api_key, max_output_tokens=request.max_output_tokens
        )

    async def create_conversation(self) -> str:
        """Create a conversation and return its id.

        Raises:
            UpstreamError: the request failed, or the server does not support conversations.
        """
        answer = await self._call("POST", "/conversations", {})
        if not isinstance(answer.get("id"), str):
            raise UpstreamUnavailable("The new conversation has no id.", retryable=False)
        return str(answer["id"])

    async def delete_conversation(self, conversation: str) -> None:
        """Delete a conversation on the server; a missing one is no error. Raises UpstreamError."""
        try:
            await self._call("DELETE", f"/conversations/{conversation}")
        except UpstreamError as error:
            if not isinstance(detect_lost_conversation(error), ConversationLost):
                raise


class ContentPart:
    """A content part as streamed; `is_whole` is set once its final text has been compared."""

    __slots__ = ("is_whole", "pieces")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.is_whole = False

    def text(self) -> str:
        """Return the text streamed so far."""
        self.pieces = ["".join(self.pieces)]
        return self.pieces[0]


class ResponsesParser(AnswerParser):
    """Parser of the events of the Responses API.

    Items are identified by id, else by output index, else by order: llama.cpp sends no index.
    Events are processed once and in the order of their sequence numbers, if the server sends them.
    The streamed text and arguments are compared with the final ones, so that a doubled or garbled
    answer is rejected.
    """

    def __init__(self, *, secret: str = "", max_output_tokens: int | None = None) -> None:
        super().__init__(secret=secret)
        self._max_output_tokens = max_output_tokens
        self._sequencer = EventSequencer(is_idle=_is_idle, is_last=_is_last)
        self._key: object = None
        self._part = ContentPart()
        self._parts: dict[object, ContentPart] = {}

    def take_payload(self, payload: dict[str, Any], out: list[Event]) -> None:
        """Convert one event to events, in the order of the sequence numbers."""
        for ordered in self._sequencer.take(payload.get("sequence_number"), payload):
            self._take_in_order(ordered, out)

    def take_end(self, out: list[Event]) -> None:
        """Process the events still held."""
        for ordered in self._sequencer.flush():
            self._take_in_order(ordered, out)

    def _take_in_order(self, payload: dict[str, Any], out: list[Event]) -> None:
        take = HANDLERS.get(str(payload.get("type")))
        if take is not None and not self.finished:
            take(self, payload, out)

    def take_text(self, payload: dict[str, Any], out: list[Event]) -> None:
        """Add a text delta."""
        self._switch_to(payload, out)
        self._add_delta(payload.get("delta"), out)

    def take_text_done(self, payload: dict[str, Any], out: list[Event]) -> None:
        """Complete a text part."""
        self._switch_to(payload, out)
        self._end_part(payload.get("text"), out)

    def take_refusal(self, payload: dict[str, Any], out: list[Event]) -> None:
        """Add a refusal delta."""
        self._switch_to(payload, out)
        self._add_delta(payload.get("delta"), out, refused=True)

    def take_refusal_done(self, payload: dict[str, Any], out: list[Event]) -> None:
        """Complete a refusal part."""
        self._switch_to(payload, out)
        self._end_part(payload.get("refusal"), out, refused=True)

    def take_item(self, payload: dict[str, Any], out: list[Event]) -> None:
        """Start or complete a tool call."""
        self._take_item(payload, payload["type"] == "response.output_item.done", out)

    def take_arguments(self, payload: dict[str, Any], out: list[Event]) -> None:
        # Anything after the end of a call is a repeat.
        """Add a piece of a call's arguments."""
        if (call := self._find_call_for(payload)) and not call.complete:
            self.arguments(call, payload.get("delta"), out)

    def take_arguments_done(self, payload: dict[str, Any], out: list[Event]) -> None:
        """Complete a call's arguments."""
        if call := self._find_call_for(payload):
            self._complete(call, payload.get("arguments"), out)

    def take_final(self, payload: dict[str, Any], out: list[Event]) -> None:
        """Finish the answer with the final event."""
        self._take_final(payload.get("response"), out)

    def take_error(self, payload: dict[str, Any], out: list[Event]) -> None:
        """Raise the error that the event reports."""
        raise build_stream_error(payload, secret=self._secret)

    def take_whole(self, payload: dict[str, Any], out: list[Event]) -> None:
        """Convert an unstreamed answer to events."""
        self._take_final(payload, out)

    def _switch_to(self, payload: dict[str, Any], out: list[Event]) -> None:
        """Switch to the part that an event belongs to; parts are separated by a blank line."""
        key = _get_part_key(payload)
        if key == self._key and self._parts:
            return
        if self._parts and key not in self._parts:
            self.text("\n\n", out)
        self._key = key
        self._part = self._parts.setdefault(key, ContentPart())

    def _add_delta(self, text: object, out: list[Event], *, refused: bool = False) -> None:
        part, count = self._part, len(out)
        if part.is_whole:
            return  # anything after the end of a part is a repeat
        if refused:
            self.refusal(text, out)
        else:
            self.text(text, out)
        if len(out) > count:
            part.pieces.append(out[-1].text)  # type: ignore[union-attr]

    def _end_part(self, text: object, out: list[Event], *, refused: bool = False) -> None:
        """Compare the part with its final text and add what is missing."""
        if not isinstance(text, str) or not text or self._part.is_whole:
            return
        self._add_delta(get_missing_end(self._part.text(), text), out, refused=refused)
        self._part.is_whole = True

    def _take_item(self, payload: dict[str, Any], done: bool, out: list[Event]) -> None:
        item = payload.get("item")
        if not isinstance(item, dict) or item.get("type") != "function_call":
            return
        key = item.get("id") or payload.get("output_index")
        call = self._find(key) if done else None
        if call is None and done and key is None and self.calls and not self.calls[-1].complete:
            call = self.calls[-1]
        if call is None:
            if key is not None and self._find(key) is not None and not done:
                return
            call = self.start_call(item.get("call_id"), item.get("name"), key, out)
        if done:
            self._complete(call, item.get("arguments"), out)

    def _find_call_for(self, payload: dict[str, Any]) -> StreamedCall | None:
        for key in (payload.get("item_id"), payload.get("output_index")):
            if key is not None and (call := self._find(key)):
                return call
        return self.calls[-1] if self.calls else None

    def _find(self, key: object) -> StreamedCall | None:
        return next((call for call in reversed(self.calls) if call.key == key), None)

    def _complete(self, call: StreamedCall, arguments: object, out: list[Event]) -> None:
        if isinstance(arguments, str) and arguments and call.text:
            arguments = get_missing_arguments(call.text, arguments)
        if isinstance(arguments, str) or not call.text:
            self.arguments(call, arguments, out)
        call.complete = True

    def _take_final(self, response: object, out: list[Event]) -> None:
        if not isinstance(response, dict):
            response = {}
        # Report usage first: an answer that failed, or is rejected below, was computed all the
        # same.
        usage = parse_usage(response.get("usage"))
        if usage is not None:
            out.append(usage)
        if response.get("status") == "failed" or response.get("error"):
            raise build_stream_error(response.get("error") or {}, secret=self._secret)
        items = response.get("output")
        output = (
            [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
        )
        if not self._parts and not self.calls:
            self._take_output(output, out)
        elif _get_reason(response) == "stop":
            self._compare(output, out)
        conversation = response.get("conversation")
        kept = conversation.get("id") if isinstance(conversation, dict) else conversation
        reason = _get_reason(response)
        # llama.cpp reports an answer that was cut at the limit as completed.
        limit = self._max_output_tokens
        if reason == "stop" and usage and limit and usage.output_tokens >= limit:
            reason = "length"
        self.finish(reason, out, conversation=kept if isinstance(kept, str) else None)

    def _compare(self, output: list[dict[str, Any]], out: list[Event]) -> None:
        """Compare the answer with the final event, if it has the output, and add what is missing.

        Raises:
            StreamBroken: the two are different answers.
        """
        final = "".join(_texts(output))
        if final and self._parts:
            streamed = "".join(part.text() for part in self._parts.values())
            if rest := get_missing_end(streamed, final):
                self._part.is_whole = False
                self._add_delta(rest, out, refused=self.refused)
        called = [item for item in output if item.get("type") == "function_call"]
        if called and len(called) < len(self.calls):
            raise StreamBroken("The stream has more tool calls than the final event.")
        for number, item in enumerate(called):
            if number < len(self.calls):
                self._compare_call(self.calls[number], item, out)
            else:
                self._take_item({"item": item, "output_index": f"final {number}"}, True, out)

    def _compare_call(self, call: StreamedCall, item: dict[str, Any], out: list[Event]) -> None:
        if call.name and item.get("name") and call.name != item["name"]:
            raise StreamBroken("The streamed tool calls differ from those of the final event.")
        self._complete(call, item.get("arguments"), out)

    def _take_output(self, output: list[dict[str, Any]], out: list[Event]) -> None:
        """Read the answer from the final event of a server that streamed none of it."""
        for number, item in enumerate(output):
            if item.get("type") == "function_call":
                self._take_item({"item": item, "output_index": number}, True, out)
            for place, part in enumerate(item.get("content") or []):
                if isinstance(part, dict):
                    where = {"item_id": number, "content_index": place}
                    self._switch_to(where, out)
                    self.text(part.get("text"), out)
                    self.refusal(part.get("refusal"), out)


HANDLERS = {
    "response.output_text.delta": ResponsesParser.take_text,
    "response.output_text.done": ResponsesParser.take_text_done,
    "response.refusal.delta": ResponsesParser.take_refusal,
    "response.refusal.done": ResponsesParser.take_refusal_done,
    "response.output_item.added": ResponsesParser.take_item,
    "response.output_item.done": ResponsesParser.take_item,
    "response.function_call_arguments.delta": ResponsesParser.take_arguments,
    "response.function_call_arguments.done": ResponsesParser.take_arguments_done,
    "response.completed": ResponsesParser.take_final,
    "response.incomplete": ResponsesParser.take_final,
    "response.failed": ResponsesParser.take_final,
    "error": ResponsesParser.take_error,
}


FINAL_EVENT_TYPES = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "error"},
)


def _is_idle(payload: dict[str, Any]) -> bool:
    """Return True if an event is not part of the answer."""
    return payload.get("type") not in HANDLERS


def _is_last(payload: dict[str, Any]) -> bool:
    """Return True if an event ends the stream."""
    return payload.get("type") in FINAL_EVENT_TYPES


def _texts(output: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the texts and refusals of the final event's messages."""
    for item in output:
        parts = item.get("content") if item.get("type") == "message" else None
        for part in parts if isinstance(parts, list) else []:
            for name in ("text", "refusal"):
                if isinstance(part, dict) and isinstance(part.get(name), str):
                    yield part[name]


def _get_part_key(payload: dict[str, Any]) -> tuple[object, object]:
    item = payload.get("item_id") or payload.get("output_index")
    return (item, payload.get("content_index") or 0)


def _get_reason(response: dict[str, Any]) -> FinishReason:
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    if reason == "content_filter":
        return "content_filter"
    if reason or response.get("status") == "incomplete":
        return "length"
    return "stop"


def _build_item(item: Item) -> dict[str, Any]:
    match item:
        case InputMessage():
            content = [_build_part(part, item.role) for part in item.parts]
            return {"type": "message", "role": item.role, "content": content}
        case FunctionCall():
            return {
                "type": "function_call",
                "call_id": item.call_id,
                "name": item.name,
                "arguments": item.arguments,
            }
        case FunctionOutput():
            return {
                "type": "function_call_output",
                "call_id": item.call_id,
                "output": item.output,
            }


def _build_part(part: Part, role: str) -> dict[str, Any]:
    if not isinstance(part, TextPart):
        return {"type": "input_image", "image_url": part.url, "detail": part.detail}
    if role == "assistant":
        return {"type": "output_text", "text": part.text, "annotations": []}
    return {"type": "input_text", "text": part.text}


def _build_tool(tool: ToolSpec) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }


def _build_tool_choice(choice: str | dict[str, Any]) -> str | dict[str, Any]:
    if isinstance(choice, str):
        return choice
    return {"type": "function", "name": choice["function"]["name"]}


def _build_format(response_format: str | dict[str, Any] | None) -> dict[str, Any] | None:
    if not isinstance(response_format, dict):
        return None
    if response_format.get("type") != "json_schema":
        return {"type": response_format["type"]}
    return {"type": "json_schema"} | dict(response_format["json_schema"])


def _wrap_schema(name: str, value: object) -> dict[str, Any] | None:
    return None if value is None else {name: value}
