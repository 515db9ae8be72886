"""The upstream port: one request in, a stream of neutral events out.

Nothing here knows a wire format, and nothing in this package knows Django. An adapter is a class
that satisfies `Upstream`; `chat.upstream.build` makes one from an `UpstreamConfig`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable


@dataclass(frozen=True, kw_only=True)
class TextPart:
    text: str


@dataclass(frozen=True, kw_only=True)
class ImagePart:
    """`url` is an http(s) or data address; `detail` is auto, low or high."""

    url: str
    detail: str = "auto"


Part = TextPart | ImagePart


@dataclass(frozen=True, kw_only=True)
class InputMessage:
    role: Literal["user", "assistant"]
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class FunctionCall:
    """A call the model made earlier; `arguments` is the exact JSON text it sent."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, kw_only=True)
class FunctionOutput:
    call_id: str
    output: str


Item = InputMessage | FunctionCall | FunctionOutput


@dataclass(frozen=True, kw_only=True)
class ToolSpec:
    """A function offered to the model; `parameters` is a JSON schema object."""

    name: str
    description: str
    parameters: dict[str, Any]
    strict: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """One model round. None means "not sent".

    `tool_choice` and `response_format` have the Assistants shapes: "auto" | "none" | "required" |
    {"type": "function", "function": {"name"}}, and "auto" | {"type": "text" | "json_object" |
    "json_schema", ...}. With `conversation` the server keeps the history and `items` holds only
    the new ones. `safety_id` is a stable pseudonym of the person asking, never an address.
    """

    model: str
    items: tuple[Item, ...]
    instructions: str | None = None
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str | dict[str, Any] = "auto"
    parallel_tool_calls: bool = True
    temperature: float | None = None
    top_p: float | None = None
    reasoning_effort: str | None = None
    response_format: str | dict[str, Any] | None = None
    max_output_tokens: int | None = None
    conversation: str | None = None
    safety_id: str | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """`index` counts the calls of this answer from 0; servers may repeat or omit their own id."""

    index: int
    server_call_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolArgumentsDelta:
    index: int
    text: str


@dataclass(frozen=True, slots=True)
class UsageReported:
    """Tokens as the server counted them; cached and reasoning tokens are parts of the others."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0


FinishReason = Literal["stop", "tool_calls", "length", "content_filter"]


@dataclass(frozen=True, slots=True)
class AnswerEnd:
    """The last event of a whole answer; `conversation` is the one the server says it kept."""

    reason: FinishReason
    conversation: str | None = None


Event = TextDelta | RefusalDelta | ToolCallStarted | ToolArgumentsDelta | UsageReported | AnswerEnd
CONTENT_EVENTS = (TextDelta, RefusalDelta, ToolCallStarted, ToolArgumentsDelta)


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a server was found to support. `problem` is a sentence for operators, or None."""

    models: tuple[str, ...] = ()
    responses: bool = False
    chat_completions: bool = False
    tools: bool = False
    conversations: bool = False
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class UpstreamConfig:
    """`kind` is the dotted path of an adapter class; `options` are its keyword arguments."""

    name: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)


class Upstream(Protocol):
    """A model server. Every method raises `UpstreamError` and nothing else."""

    @property
    def name(self) -> str: ...

    def stream(self, request: ModelRequest) -> AsyncGenerator[list[Event], None]:
        """Yield one non-empty list of events per network read; the last one ends in `AnswerEnd`.

        Ends without `AnswerEnd` only by raising. Closing the generator, or cancelling the task
        that waits in it, closes the connection to the server.
        """
        ...

    async def list_models(self) -> list[str]: ...

    async def probe(self, *, model: str | None = None) -> Capabilities:
        """Find out by a few tiny requests what is supported; `model` defaults to the first."""
        ...

    async def warm_up(self) -> None:
        """Do what is slow at the first request: imports and client set-up. Sends nothing."""
        ...

    async def aclose(self) -> None: ...


@runtime_checkable
class KeepsConversations(Protocol):
    """An upstream whose server can keep the history of a thread."""

    async def create_conversation(self) -> str: ...

    async def delete_conversation(self, conversation: str) -> None:
        """Delete it on the server; one that is already gone is no error."""
        ...
