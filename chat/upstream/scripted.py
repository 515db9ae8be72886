"""`demo-scripted`: answers without a model server, so that Atrium can be tried immediately.

It is not a language model: `scripted_reply.py` routes a message to an offered tool by the words of
the tool's name, description and schema. To simulate failures, a message may contain

- "simulate failure": the request fails before its first word,
- "simulate failure halfway": the answer breaks off after a few words,
- "simulate stall": the answer stops after a few words and never continues.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Iterator

from chat.upstream.base import (
    AnswerEnd,
    Capabilities,
    Event,
    FunctionCall,
    FunctionOutput,
    InputMessage,
    ModelRequest,
    TextDelta,
    TextPart,
    ToolArgumentsDelta,
    ToolCallStarted,
    UsageReported,
)
from chat.upstream.errors import StreamBroken, UpstreamTimeout, UpstreamUnavailable
from chat.upstream.scripted_reply import Reply, get_last_user_text, reply_to
from chat.upstream.scripted_words import estimate_tokens

MODEL = "demo-scripted"
FAILURE = re.compile(r"\bsimulate (?:a )?failure\b(?P<halfway> halfway)?", re.IGNORECASE)
STALL = re.compile(r"\bsimulate (?:a )?stall\b", re.IGNORECASE)
WORDS = re.compile(r"\s*\S+|\s+$")
WORDS_BEFORE_TROUBLE = 6


class ScriptedUpstream:
    """The demonstration provider.

    Options: `tokens_per_second` (0: no delay) and `stall_timeout` in seconds.
    """

    def __init__(
        self, name: str, *, tokens_per_second: float = 40.0, stall_timeout: float = 45.0
    ) -> None:
        if tokens_per_second < 0:
            raise ValueError(f"Upstream {name}: tokens_per_second cannot be negative.")
        self._name = name
        self._pause = 1.0 / tokens_per_second if tokens_per_second else 0.0
        self._stall_timeout = stall_timeout

    @property
    def name(self) -> str:
        """The configured name of the model server."""
        return self._name

    async def stream(self, request: ModelRequest) -> AsyncGenerator[list[Event], None]:
        """Yield lists of events; see `base.Upstream.stream`."""
        text = get_last_user_text(request.items)
        failure = FAILURE.search(text)
        if failure and not failure["halfway"]:
            raise UpstreamUnavailable(
                "Simulated: the message asked for it.",
                code="simulated_failure",
                retryable=False,
                is_outage=False,
            )
        reply = _apply_response_format(reply_to(request), request)
        given = 0
        async for events in self._pace(reply, request.max_output_tokens):
            yield events
            given += 1
            if given == WORDS_BEFORE_TROUBLE and failure:
                raise StreamBroken("Simulated: the message asked for it.", after_first_content=True)
            if given == WORDS_BEFORE_TROUBLE and STALL.search(text):
                await asyncio.sleep(self._stall_timeout)
                raise UpstreamTimeout("Simulated stall.", after_first_content=True, is_outage=False)
        yield _build_end(request, reply)

    async def _pace(self, reply: Reply, limit: int | None) -> AsyncGenerator[list[Event], None]:
        for index, call in enumerate(reply.calls):
            await asyncio.sleep(self._pause)
            yield [
                ToolCallStarted(index, f"call_{index}", call.name),
                ToolArgumentsDelta(index, call.arguments),
            ]
        for word in _words(reply.text, limit):
            await asyncio.sleep(self._pause)
            yield [TextDelta(word)]

    async def list_models(self) -> list[str]:
        """Return the one model id."""
        return [MODEL]

    async def probe(self, *, model: str | None = None) -> Capabilities:
        """Return the features, without a request."""
        return Capabilities(models=(MODEL,), tools=True)

    async def warm_up(self) -> None:
        """Do nothing: there is nothing slow to prepare."""

    async def aclose(self) -> None:
        """Do nothing: no connection is open."""


def _words(text: str, limit: int | None) -> Iterator[str]:
    """Yield the text word by word, cut after `limit` estimated tokens."""
    left = limit
    for match in WORDS.finditer(text):
        if left is not None:
            left -= estimate_tokens([match.group()])
            if left < 0:
                return
        yield match.group()


def _apply_response_format(reply: Reply, request: ModelRequest) -> Reply:
    """Return the reply as JSON if the request asks for JSON."""
    wanted = request.response_format
    if reply.calls or not isinstance(wanted, dict) or wanted.get("type") == "text":
        return reply
    return Reply(text=json.dumps({"demonstration": True, "answer": reply.text}))


def _build_end(request: ModelRequest, reply: Reply) -> list[Event]:
    made = estimate_tokens([reply.text, *(call.arguments for call in reply.calls)])
    limit = request.max_output_tokens
    cut = not reply.calls and limit is not None and made > limit
    usage = UsageReported(_input_tokens(request), min(made, limit) if cut and limit else made)
    if reply.calls:
        return [usage, AnswerEnd("tool_calls")]
    return [usage, AnswerEnd("length" if cut else "stop")]


def _input_tokens(request: ModelRequest) -> int:
    texts = [request.instructions or ""]
    for item in request.items:
        match item:
            case InputMessage():
                texts += [part.text for part in item.parts if isinstance(part, TextPart)]
            case FunctionCall():
                texts.append(item.arguments)
            case FunctionOutput():
                texts.append(item.output)
    return estimate_tokens(texts)
