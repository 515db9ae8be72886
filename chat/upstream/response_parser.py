"""Parser for one answer: bytes to events. The two wire formats subclass `AnswerParser`."""

from __future__ import annotations

from typing import Any

import orjson

from chat.storable_text import TextCleaner
from chat.upstream.base import (
    CONTENT_EVENTS,
    AnswerEnd,
    Event,
    FinishReason,
    RefusalDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
    UsageReported,
)
from chat.upstream.classify import build_stream_error
from chat.upstream.errors import StreamBroken, UpstreamError
from chat.upstream.sse import DONE, EventSplitter, decode


class StreamedCall:
    """A tool call whose arguments are still arriving; `text` is what has arrived."""

    __slots__ = ("complete", "index", "key", "name", "server_id", "text")

    def __init__(self, index: int, server_id: str, name: str, key: object) -> None:
        self.index = index
        self.server_id = server_id
        self.name = name
        self.key = key
        self.text = ""
        self.complete = False

    def is_whole(self) -> bool:
        """Return True if the arguments are a complete JSON object."""
        try:
            return isinstance(orjson.loads(self.text), dict)
        except orjson.JSONDecodeError:
            return False


class AnswerParser:
    """Base parser of an answer.

    `feed` never raises: it returns the events that preceded an error and stores the error in
    `error`. `finished` is set with the `AnswerEnd` event, `content_seen` with the first content
    event.
    """

    def __init__(self, *, secret: str = "") -> None:
        self.error: UpstreamError | None = None
        self.finished = False
        self.content_seen = False
        self.calls: list[StreamedCall] = []
        self.refused = False
        self._secret = secret
        self._splitter = EventSplitter()
        self._text_cleaner = TextCleaner()
        self._arguments_cleaner = TextCleaner()
        self._whole: bytearray | None = None

    def expect(self, content_type: str) -> None:
        """Choose how to parse by the reply's content type: some gateways answer unstreamed JSON."""
        kind = content_type.partition(";")[0].strip().lower()
        if kind == "application/json":
            self._whole = bytearray()
        elif kind in ("text/html", "application/xhtml+xml"):
            self.error = StreamBroken("The server returned a web page. Check the base URL.")

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that a chunk of the reply completes."""
        if self._whole is not None:
            self._whole += chunk
            return []
        if self.error is not None:
            return []
        out: list[Event] = []
        try:
            for data, is_error in self._splitter.feed(chunk):
                self._take(data, is_error, out)
        except UpstreamError as error:
            self.error = error
        return self._note_content(out)

    def end(self) -> list[Event]:
        """Parse the remainder at the end of the reply. Set `error` if the answer is incomplete."""
        out: list[Event] = []
        if self.error is None:
            try:
                self._end(out)
            except UpstreamError as error:
                self.error = error
        return self._note_content(out)

    def take_payload(self, payload: dict[str, Any], out: list[Event]) -> None:
        """Convert one event of the wire format to events. Raises UpstreamError."""
        raise NotImplementedError

    def take_whole(self, payload: dict[str, Any], out: list[Event]) -> None:
        """Convert an unstreamed answer to events. Raises UpstreamError."""
        raise NotImplementedError

    def take_done(self, out: list[Event]) -> None:
        """Handle the `[DONE]` marker."""

    def take_end(self, out: list[Event]) -> None:
        """Handle the end of the reply; add `AnswerEnd` if the answer is complete."""

    def _end(self, out: list[Event]) -> None:
        if self._whole is not None:
            self.take_whole(_require_object(decode(bytes(self._whole))), out)
        else:
            for data, is_error in self._splitter.end():
                self._take(data, is_error, out)
            if not self.finished:
                self.take_end(out)
        if not self.finished:
            raise StreamBroken("The answer ended without a final event.")

    def _take(self, data: bytes, is_error: bool, out: list[Event]) -> None:
        if self.finished or not data:
            return
        if data.startswith(DONE):
            self.take_done(out)
            return
        payload = decode(data)
        if is_error:
            raise build_stream_error(payload, secret=self._secret)
        if isinstance(payload, dict):
            if payload.get("error"):
                raise build_stream_error(payload, secret=self._secret)
            self.take_payload(payload, out)

    def _note_content(self, out: list[Event]) -> list[Event]:
        if not self.content_seen and any(isinstance(e, CONTENT_EVENTS) for e in out):
            self.content_seen = True
        return out

    def text(self, value: object, out: list[Event]) -> None:
        """Add a text delta."""
        if isinstance(value, list):
            value = "".join(str(p.get("text") or "") for p in value if isinstance(p, dict))
        if value and isinstance(value, str) and (text := self._text_cleaner.clean(value)):
            out.append(TextDelta(text))

    def refusal(self, value: object, out: list[Event]) -> None:
        """Add a refusal delta."""
        if value and isinstance(value, str) and (text := self._text_cleaner.clean(value)):
            self.refused = True
            out.append(RefusalDelta(text))

    def start_call(
        self, server_id: object, name: object, key: object, out: list[Event]
    ) -> StreamedCall:
        """Register a tool call, and announce it if its name is known."""
        call = StreamedCall(len(self.calls), str(server_id or ""), str(name or ""), key)
        self.calls.append(call)
        if call.name:
            out.append(ToolCallStarted(call.index, call.server_id, call.name))
        return call

    def name_call(self, call: StreamedCall, name: str, out: list[Event]) -> None:
        """Announce a call whose name arrived late, followed by the arguments received before."""
        call.name = name
        out.append(ToolCallStarted(call.index, call.server_id, name))
        if call.text:
            out.append(ToolArgumentsDelta(call.index, call.text))

    def arguments(self, call: StreamedCall, value: object, out: list[Event]) -> None:
        """Add a piece of a call's arguments. Raises StreamBroken if they are nested too deeply."""
        if isinstance(value, (dict, list)):
            try:
                value = orjson.dumps(value).decode()
            except orjson.JSONEncodeError as error:
                raise StreamBroken("The arguments of a tool call are nested too deeply.") from error
        if value and isinstance(value, str) and (text := self._arguments_cleaner.clean(value)):
            call.text += text
            if call.name:
                out.append(ToolArgumentsDelta(call.index, text))

    def finish(
        self, reason: FinishReason, out: list[Event], *, conversation: str | None = None
    ) -> None:
        """Add `AnswerEnd`; correct a reason of "stop" after tool calls, and the reverse."""
        for call in self.calls:
            if not call.name:
                self.name_call(call, "unnamed", out)
        if reason in ("stop", "tool_calls"):
            reason = "tool_calls" if self.calls else "stop"
        self.finished = True
        out.append(AnswerEnd(reason, conversation))


def parse_usage(usage: object) -> UsageReported | None:
    """Return the usage in either format's spelling, or None if there is none."""
    if not isinstance(usage, dict):
        return None
    input_tokens = _get_count(usage, "input_tokens", "prompt_tokens")
    output_tokens = _get_count(usage, "output_tokens", "completion_tokens")
    if input_tokens is None and output_tokens is None:
        return None
    input_details = usage.get("input_tokens_details") or usage.get("prompt_tokens_details")
    output_details = usage.get("output_tokens_details") or usage.get("completion_tokens_details")
    return UsageReported(
        input_tokens or 0,
        output_tokens or 0,
        _get_count(input_details, "cached_tokens") or 0,
        _get_count(output_details, "reasoning_tokens") or 0,
    )


def _get_count(source: object, *names: str) -> int | None:
    if isinstance(source, dict):
        for name in names:
            value = source.get(name)
            if isinstance(value, int) and 0 <= value < 2**31:
                return value
    return None


def _require_object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise StreamBroken("The answer is JSON of an unexpected form.")
    if value.get("error"):
        raise build_stream_error(value)
    return value
