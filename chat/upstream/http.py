"""Base of the HTTP adapters: options, the read loop, listing models and probing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any, ClassVar
from urllib.parse import urlsplit

from chat.upstream.base import Capabilities, Event, ModelRequest
from chat.upstream.classify import detect_lost_conversation
from chat.upstream.errors import UpstreamError
from chat.upstream.probe import probe
from chat.upstream.response_parser import AnswerParser
from chat.upstream.text_tool_calls import TextToolCallParser
from chat.upstream.transport import OPENAI, Endpoint, Timeouts, load_sdk

# How long to read on after the answer is complete, so that the connection can be reused instead of
# being closed.
DRAIN_SECONDS = 0.05


class HttpUpstream:
    """An OpenAI-compatible server. Subclasses define the path, the request body and the parser.

    Options: `base_url` (default: OpenAI), `api_key`, `organization`, `project`, `headers`; in
    seconds `connect_timeout`, `first_byte_timeout`, `idle_timeout`; `max_connections` per process
    and event loop; `rescue_tool_calls` for servers that leave tool calls as JSON in the text.

    Raises:
        ValueError: the base URL is not an http or https URL.
    """

    path: ClassVar[str]

    def __init__(
        self,
        name: str,
        *,
        base_url: str | None = None,
        api_key: str = "",
        organization: str | None = None,
        project: str | None = None,
        headers: Mapping[str, str] | None = None,
        connect_timeout: float = 5.0,
        first_byte_timeout: float = 60.0,
        idle_timeout: float = 45.0,
        max_connections: int = 500,
        rescue_tool_calls: bool = False,
    ) -> None:
        base_url = base_url or OPENAI
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"Upstream {name}: {base_url!r} is not an http or https URL.")
        self._name = name
        self._endpoint = Endpoint(
            base_url=base_url.rstrip("/"),
            api_key=api_key,
            organization=organization,
            project=project,
            headers=tuple(sorted((headers or {}).items())),
            max_connections=max_connections,
        )
        self._timeouts = Timeouts(
            connect=connect_timeout, first_byte=first_byte_timeout, idle=idle_timeout
        )
        self._rescue = rescue_tool_calls

    @property
    def name(self) -> str:
        """The configured name of the model server."""
        return self._name

    def build_body(self, request: ModelRequest) -> dict[str, Any]:
        """Return the JSON body of the request."""
        raise NotImplementedError

    def create_parser(self, request: ModelRequest) -> AnswerParser:
        """Return a parser for the answer to `request`."""
        raise NotImplementedError

    async def stream(self, request: ModelRequest) -> AsyncGenerator[list[Event], None]:
        """Yield lists of events; see `base.Upstream.stream`."""
        parser = self.create_parser(request)
        rescue = TextToolCallParser(request.tools) if self._rescue and request.tools else None
        try:
            async for events in self._parse(request, parser):
                if rescue is not None:
                    events = rescue.filter_events(events)
                if events:
                    yield events
        except UpstreamError as error:
            error.after_first_content = parser.content_seen
            specific = detect_lost_conversation(error) if request.conversation else error
            if specific is error:
                raise
            raise specific from error

    async def _parse(
        self, request: ModelRequest, parser: AnswerParser
    ) -> AsyncGenerator[list[Event], None]:
        await load_sdk()
        from chat.upstream import sdk

        client = sdk.client_for(self._endpoint, self)
        opened = sdk.post_stream(
            client, self._endpoint, self._timeouts, self.path, self.build_body(request)
        )
        async with opened as (content_type, reads):
            parser.expect(content_type)
            async for chunk in reads:
                if events := parser.feed(chunk):
                    yield events
                if parser.error is not None:
                    raise parser.error
                if parser.finished:
                    break
            else:
                if events := parser.end():
                    yield events
                if parser.error is not None:
                    raise parser.error
                return
            with suppress(TimeoutError, UpstreamError):
                async with asyncio.timeout(DRAIN_SECONDS):
                    async for _ in reads:
                        pass

    async def list_models(self) -> list[str]:
        """Return the model ids, sorted. Raises UpstreamError."""
        answer = await self._call("GET", "/models")
        data = answer.get("data") or answer.get("models") or []
        found = {str(m.get("id") or m.get("name")) for m in data if isinstance(m, dict)}
        return sorted(found)

    async def probe(self, *, model: str | None = None) -> Capabilities:
        """Detect the supported features; costs up to three answers of a few tokens."""
        return await probe(
            self.list_models, self._call, model=model, is_openai=self._endpoint.is_openai
        )

    async def warm_up(self) -> None:
        """Import the client library and create the client."""
        await load_sdk()
        from chat.upstream import sdk

        sdk.client_for(self._endpoint, self)

    async def aclose(self) -> None:
        """Release the client; the last user closes its connections."""
        await load_sdk()
        from chat.upstream import sdk

        await sdk.release(self._endpoint, self)

    async def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        await load_sdk()
        from chat.upstream import sdk

        client = sdk.client_for(self._endpoint, self)
        return await sdk.call(client, self._endpoint, self._timeouts, method, path, body)
