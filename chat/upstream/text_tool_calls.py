"""Opt-in parser of tool calls that a server leaves as JSON in the text.

Text is held back from the first sign of such JSON and released if it turns out not to be a call, so
an answer that merely shows JSON arrives complete, only later.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from chat.upstream.base import (
    AnswerEnd,
    Event,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
    ToolSpec,
)

TAGS = ("<tool_call>", "<function_call>", "[TOOL_CALLS]", "<|python_tag|>")
OPENINGS = ("{", "[", "```")
WRAPPING = re.compile(
    r"</?(?:tool_call|function_call)>|\[/?TOOL_CALLS\]|<\|python_tag\|>|```(?:json|tool_call)?"
)


class TextToolCallParser:
    """Filter for the lists of events of one answer; `tools` are the offered ones."""

    def __init__(self, tools: tuple[ToolSpec, ...]) -> None:
        self._names = {tool.name for tool in tools}
        self._held = ""
        self._holding = False
        self._text_emitted = False
        self._real_calls = False

    def filter_events(self, events: list[Event]) -> list[Event]:
        """Return the events to pass on, with tool calls parsed from the text."""
        out: list[Event] = []
        for event in events:
            match event:
                case TextDelta(text):
                    self._take_text(text, out)
                case ToolCallStarted():
                    self._real_calls = True
                    self._flush(out)
                    out.append(event)
                case AnswerEnd():
                    self._finish(event, out)
                case _:
                    out.append(event)
        return out

    def _take_text(self, text: str, out: list[Event]) -> None:
        self._held += text
        if self._holding or self._real_calls:
            if self._real_calls:
                self._flush(out)
            return
        start = self._find_start()
        if start is None:
            self._flush(out)
            return
        before, self._held = self._held[:start], self._held[start:]
        self._emit(before, out)
        self._holding = self._held.startswith(TAGS) or (
            not self._text_emitted and self._held.lstrip().startswith(OPENINGS)
        )

    def _find_start(self) -> int | None:
        """Return the offset in the held text at which a call, or part of a tag, may begin."""
        held = self._held
        if not self._text_emitted and (not held.strip() or held.lstrip().startswith(OPENINGS)):
            return 0
        found = [at for tag in TAGS if (at := held.find(tag)) >= 0]
        if found:
            return min(found)
        for tag in TAGS:
            for length in range(min(len(tag) - 1, len(held)), 0, -1):
                if held.endswith(tag[:length]):
                    return len(held) - length
        return None

    def _finish(self, event: AnswerEnd, out: list[Event]) -> None:
        calls = [] if self._real_calls or event.reason == "length" else self._parse_calls()
        if not calls:
            self._flush(out)
            out.append(event)
            return
        self._held = ""
        for index, (name, arguments) in enumerate(calls):
            out.append(ToolCallStarted(index, "", name))
            out.append(ToolArgumentsDelta(index, arguments))
        out.append(AnswerEnd("tool_calls", event.conversation))

    def _parse_calls(self) -> list[tuple[str, str]]:
        """Return (name, arguments) of each call in the held text; [] if it has other content."""
        calls: list[tuple[str, str]] = []
        for piece in filter(None, map(str.strip, WRAPPING.split(self._held))):
            try:
                value = orjson.loads(piece)
            except orjson.JSONDecodeError:
                return []
            for entry in value if isinstance(value, list) else [value]:
                call = self._parse_call(entry)
                if call is None:
                    return []
                calls.append(call)
        return calls

    def _parse_call(self, entry: Any) -> tuple[str, str] | None:
        if not isinstance(entry, dict):
            return None
        entry = entry.get("function") if isinstance(entry.get("function"), dict) else entry
        name = entry.get("name")
        arguments = entry.get("arguments", entry.get("parameters", {}))
        if name not in self._names:
            return None
        if isinstance(arguments, dict):
            try:
                return str(name), orjson.dumps(arguments).decode()
            except orjson.JSONEncodeError:
                return None  # nested more deeply than orjson can write
        return (str(name), arguments) if isinstance(arguments, str) else None

    def _flush(self, out: list[Event]) -> None:
        self._emit(self._held, out)
        self._held = ""
        self._holding = False

    def _emit(self, text: str, out: list[Event]) -> None:
        if text:
            self._text_emitted = self._text_emitted or bool(text.strip())
            out.append(TextDelta(text))
