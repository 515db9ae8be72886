"""The upstream port: one request in, a stream of format-neutral events out.

This module knows no wire format, and this package does not depend on Django. An adapter is a class
that satisfies `Upstream`; `chat.upstream.build` creates one from an `UpstreamConfig`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable


@dataclass(frozen=True, kw_only=True)
class TextPart:
    """Text in a message."""

    text: str


@dataclass(frozen=True, kw_only=True)
class ImagePart:
    """An image; `url` is an http(s) or data URL, `detail` is auto, low or high."""

    url: str
    detail: str = "auto"


Part = TextPart | ImagePart


@dataclass(frozen=True, kw_only=True)
class InputMessage:
    """A message of the user or the assistant."""

    role: Literal["user", "assistant"]
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class FunctionCall:
    """An earlier call by the model; `arguments` is the exact JSON text it sent."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, kw_only=True)
class FunctionOutput:
    """The output of an earlier call, sent to the model."""

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
    """One model call. None means "not sent".

    `tool_choice` and `response_format` have the shapes of the Assistants API: "auto" | "none" |
    "required" | {"type": "function", "function": {"name"}}, and "auto" | {"type": "text" |
    "json_object" | "json_schema", ...}. With `conversation` the server keeps the history and
    `items` holds only the new ones. `safety_id` is a stable pseudonym of the user, never an e-mail
    address.
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
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    """A piece of the model's refusal."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """Start of a tool call.

    `index` counts the calls of this answer from 0, since servers may repeat or omit their own id.
    """

    index: int
    server_call_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolArgumentsDelta:
    """A piece of the arguments of call `index`, as JSON text."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class UsageReported:
    """Token counts from the server; the others include cached and reasoning tokens."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0


FinishReason = Literal["stop", "tool_calls", "length", "content_filter"]


@dataclass(frozen=True, slots=True)
class AnswerEnd:
    """The last event of a complete answer; `conversation` is the one the server reports it kept."""

    reason: FinishReason
    conversation: str | None = None


Event = TextDelta | RefusalDelta | ToolCallStarted | ToolArgumentsDelta | UsageReported | AnswerEnd
CONTENT_EVENTS = (TextDelta, RefusalDelta, ToolCallStarted, ToolArgumentsDelta)


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """The features that a probe found. `problem` is a sentence for operators, or None."""

    models: tuple[str, ...] = ()
    responses: bool = False
    chat_completions: bool = False
    tools: bool = False
    conversations: bool = False
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class UpstreamConfig:
    """Dotted path of an adapter class (`kind`) and its keyword arguments (`options`)."""

    name: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)


class Upstream(Protocol):
    """Interface of a model server. Every method raises `UpstreamError` and nothing else."""

    @property
    def name(self) -> str:
        """Return the configured name of the model server."""
        ...

    def stream(self, request: ModelRequest) -> AsyncGenerator[list[Event], None]:
        """Yield one non-empty list of events per network read; the last one ends in `AnswerEnd`.

        Without `AnswerEnd` the stream ends only by raising. Closing the generator, or cancelling
        the task that awaits it, closes the connection to the server.
        """
        ...

    async def list_models(self) -> list[str]:
        """Return the model ids."""
        ...

    async def probe(self, *, model: str | None = None) -> Capabilities:
        """Detect the supported features with a few tiny requests; `model` defaults to the first."""
        ...

    async def warm_up(self) -> None:
        """Do the slow parts of a first request, imports and client setup. Sends nothing."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


@runtime_checkable
class KeepsConversations(Protocol):
    """An upstream whose server can keep the history of a thread."""

    async def create_conversation(self) -> str:
        """Create a conversation on the server and return its id."""
        ...

    async def delete_conversation(self, conversation: str) -> None:
        """Delete a conversation on the server; a missing one is no error."""
        ...
