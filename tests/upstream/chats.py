"""Short ways to say a request and to read an answer, for the tests of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from chat.upstream.base import (
    AnswerEnd,
    Event,
    InputMessage,
    ModelRequest,
    RefusalDelta,
    TextDelta,
    TextPart,
    ToolArgumentsDelta,
    ToolCallStarted,
    ToolSpec,
    Upstream,
    UsageReported,
)
from chat.upstream.chat_completions import ChatCompletionsUpstream
from chat.upstream.errors import UpstreamError
from chat.upstream.http import HttpUpstream
from chat.upstream.responses import ResponsesUpstream

KEY = "sk-test-0123456789abcdef"
ADAPTERS: dict[str, type[HttpUpstream]] = {
    "responses": ResponsesUpstream,
    "chat": ChatCompletionsUpstream,
}
WEATHER = ToolSpec(
    name="get_weather",
    description="The weather of a city.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    strict=True,
)


def message(text: str, role: Any = "user") -> InputMessage:
    return InputMessage(role=role, parts=(TextPart(text=text),))


def asking(text: str = "Hello", **fields: Any) -> ModelRequest:
    return ModelRequest(**{"model": "test-model", "items": (message(text),), **fields})


@dataclass
class Heard:
    """One answer as it was heard; `reads` are the lists as they came."""

    reads: list[list[Event]] = field(default_factory=list)
    error: UpstreamError | None = None

    @property
    def events(self) -> list[Event]:
        return [event for events in self.reads for event in events]

    @property
    def text(self) -> str:
        return "".join(e.text for e in self.events if isinstance(e, TextDelta))

    @property
    def refusal(self) -> str:
        return "".join(e.text for e in self.events if isinstance(e, RefusalDelta))

    @property
    def calls(self) -> list[tuple[int, str, str]]:
        """(index, name, arguments) of every call."""
        arguments: dict[int, str] = {}
        for event in self.events:
            if isinstance(event, ToolArgumentsDelta):
                arguments[event.index] = arguments.get(event.index, "") + event.text
        started = [e for e in self.events if isinstance(e, ToolCallStarted)]
        return [(e.index, e.name, arguments.get(e.index, "")) for e in started]

    @property
    def server_ids(self) -> list[str]:
        return [e.server_call_id for e in self.events if isinstance(e, ToolCallStarted)]

    @property
    def usage(self) -> UsageReported | None:
        return next((e for e in self.events if isinstance(e, UsageReported)), None)

    @property
    def finished(self) -> AnswerEnd | None:
        last = self.events[-1] if self.events else None
        return last if isinstance(last, AnswerEnd) else None

    @property
    def reason(self) -> str | None:
        return self.finished.reason if self.finished else None


async def hear(upstream: Upstream, request: ModelRequest, *, heard: Heard | None = None) -> Heard:
    """Listen to one answer; what is heard is in `heard` at once."""
    heard = heard or Heard()
    try:
        async for events in upstream.stream(request):
            heard.reads.append(events)
    except UpstreamError as error:
        heard.error = error
    return heard


Ask = Callable[..., Heard]


def asker(make: Callable[..., Upstream]) -> Ask:
    """A function that asks once, in an event loop of its own. `options` go to the adapter."""

    def ask(request: ModelRequest | None = None, **options: Any) -> Heard:
        async def once() -> Heard:
            upstream = make(**options)
            try:
                return await hear(upstream, request or asking())
            finally:
                await upstream.aclose()

        return asyncio.run(once())

    return ask
