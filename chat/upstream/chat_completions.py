"""Adapter for the Chat Completions wire format, which nearly every server speaks. Stateless."""

from __future__ import annotations

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
from chat.upstream.comparison import get_missing_end
from chat.upstream.errors import StreamBroken
from chat.upstream.http import HttpUpstream
from chat.upstream.response_parser import AnswerParser, StreamedCall, parse_usage

REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
    "safety": "content_filter",
}


class ChatCompletionsUpstream(HttpUpstream):
    """Adapter for `/chat/completions`."""

    path = "/chat/completions"

    def build_body(self, request: ModelRequest) -> dict[str, Any]:
        """Return the JSON body of the request. Raises ValueError if it names a conversation."""
        if request.conversation is not None:
            raise ValueError("Chat Completions servers do not keep conversations.")
        openai = self._endpoint.is_openai
        body: dict[str, Any] = {
            "model": request.model,
            "messages": build_messages(request),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.tools:
            body["tools"] = [_build_tool(tool) for tool in request.tools]
            if request.tool_choice != "auto":
                body["tool_choice"] = request.tool_choice
            if not request.parallel_tool_calls:
                body["parallel_tool_calls"] = False
        sent = {
            "temperature": request.temperature,
            "top_p": request.top_p,
            "reasoning_effort": request.reasoning_effort,
            # Other servers know only the older name, OpenAI's newer models only the newer one.
            "max_completion_tokens" if openai else "max_tokens": request.max_output_tokens,
            # Strict gateways answer 400 to unknown fields.
            "safety_identifier": request.safety_id if openai else None,
        }
        body |= {name: value for name, value in sent.items() if value is not None}
        if isinstance(request.response_format, dict):
            body["response_format"] = request.response_format
        if openai:
            body["store"] = False
        return body

    def create_parser(self, request: ModelRequest) -> AnswerParser:
        """Return a parser for the answer."""
        return ChatParser(secret=self._endpoint.api_key)


class ChatParser(AnswerParser):
    """Parser of Chat Completions chunks."""

    def __init__(self, *, secret: str = "") -> None:
        super().__init__(secret=secret)
        self._reason: FinishReason | None = None
        self._has_content = False
        self._streamed: list[str] = []
        self._last: dict[str, Any] | None = None

    def take_payload(self, payload: dict[str, Any], out: list[Event]) -> None:
        """Convert one chunk to events."""
        if "obfuscation" in payload:
            # The value differs in every chunk, so an identical chunk is a repeat.
            if payload == self._last:
                return
            self._last = payload
        self._take_choice(payload.get("choices"), out)
        # Sent at the end or with every chunk; in the latter case an answer that is cut off still
        # has the usage reported so far.
        if payload.get("usage") and (usage := parse_usage(payload["usage"])) is not None:
            out.append(usage)

    def _take_choice(self, choices: object, out: list[Event]) -> None:
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            return
        choice = choices[0]
        if choice.get("index"):
            return
        delta, message = choice.get("delta"), choice.get("message")
        if isinstance(delta, dict) and delta:
            self._take_delta(delta, out)
        if reason := choice.get("finish_reason"):
            self._reason = REASONS.get(str(reason).lower(), "stop")
        if isinstance(message, dict):
            self._take_message(message, out)

    def _take_message(self, message: dict[str, Any], out: list[Event]) -> None:
        """Handle a complete message, sent in addition to the deltas or instead of them."""
        if not self._has_content:
            self._take_delta(message, out)
            return
        content = message.get("content")
        if self._reason is not None and self._streamed and content and isinstance(content, str):
            self._add_text(get_missing_end("".join(self._streamed), content), out)

    def _add_text(self, content: object, out: list[Event]) -> None:
        count = len(out)
        self.text(content, out)
        if len(out) > count:
            self._streamed.append(out[-1].text)  # type: ignore[union-attr]

    def take_whole(self, payload: dict[str, Any], out: list[Event]) -> None:
        """Convert an unstreamed answer to events."""
        self.take_payload(payload, out)
        self.take_end(out)

    def take_done(self, out: list[Event]) -> None:
        """Finish the answer. Raises StreamBroken if nothing preceded the marker."""
        if self._reason is None and not self._has_content:
            raise StreamBroken("The answer ended before it began.")
        self.finish(self._reason or "stop", out)

    def take_end(self, out: list[Event]) -> None:
        # Some servers omit [DONE]; a finish reason is equivalent.
        """Finish the answer if a finish reason was received."""
        if self._reason is not None:
            self.finish(self._reason, out)

    def _take_delta(self, delta: dict[str, Any], out: list[Event]) -> None:
        if content := delta.get("content"):
            self._has_content = True
            self._add_text(content, out)
        if refusal := delta.get("refusal"):
            self._has_content = True
            self.refusal(refusal, out)
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            for part in calls:
                if isinstance(part, dict):
                    self._has_content = True
                    self._take_call(part, out)

    def _take_call(self, part: dict[str, Any], out: list[Event]) -> None:
        function = part.get("function")
        if not isinstance(function, dict):
            return
        server_id, name = part.get("id") or "", function.get("name") or ""
        arguments = function.get("arguments")
        call = self._find_call(part.get("index"), server_id, name, arguments)
        if call is not None and arguments and arguments == call.text and call.is_whole():
            return  # a repeated part
        if call is None:
            call = self.start_call(server_id, name, part.get("index"), out)
        elif name and not call.name:
            self.name_call(call, str(name), out)
        self.arguments(call, arguments, out)

    def _find_call(
        self, index: object, server_id: object, name: object, arguments: object
    ) -> StreamedCall | None:
        """Return the call that a part continues or repeats, or None for a new one.

        Servers omit the index or send 0 for every call, and leave ids empty or repeat them. A part
        with a name starts a new call if its id differs or the previous call is complete, unless the
        part adds nothing to the previous call.
        """
        if index is None:
            call = self.calls[-1] if self.calls else None
        else:
            call = next((c for c in reversed(self.calls) if c.key == index), None)
        if call is None:
            return None
        other_id = bool(server_id and call.server_id and server_id != call.server_id)
        if other_id and (name or index is None):
            return None
        is_repeat = name == call.name and (not arguments or arguments == call.text)
        if name and call.name and not is_repeat and call.is_whole():
            return None
        return call


def build_messages(request: ModelRequest) -> list[dict[str, Any]]:
    """Return the request's items as chat messages; consecutive calls share one message."""
    found: list[dict[str, Any]] = []
    if request.instructions:
        found.append({"role": "system", "content": request.instructions})
    for item in request.items:
        _add(item, found)
    return found


def _add(item: Item, found: list[dict[str, Any]]) -> None:
    match item:
        case InputMessage():
            found.append({"role": item.role, "content": _build_content(item.parts)})
        case FunctionCall():
            call = {
                "id": item.call_id,
                "type": "function",
                "function": {"name": item.name, "arguments": item.arguments},
            }
            if found and found[-1]["role"] == "assistant":
                found[-1].setdefault("tool_calls", []).append(call)
            else:
                found.append({"role": "assistant", "content": None, "tool_calls": [call]})
        case FunctionOutput():
            found.append({"role": "tool", "tool_call_id": item.call_id, "content": item.output})


def _build_content(parts: tuple[Part, ...]) -> str | list[dict[str, Any]]:
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    if len(texts) == len(parts):
        return "\n\n".join(texts)
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "image_url", "image_url": {"url": part.url, "detail": part.detail}}
        for part in parts
    ]


def _build_tool(tool: ToolSpec) -> dict[str, Any]:
    function: dict[str, Any] = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
    }
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}
