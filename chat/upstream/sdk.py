"""The `openai` client as a byte transport: one connection pool per server, key and event loop.

Importing this module takes over a second, so adapters load it through `transport.load_sdk`. Replies
are read as bytes over the client's aiohttp transport and parsed by hand: its typed events cost over
a hundred microseconds each.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, cast
from weakref import WeakKeyDictionary

import aiohttp
import httpx2
import openai
import orjson
from openai import AsyncOpenAI, AsyncStream, DefaultAioHttpClient
from openai._models import FinalRequestOptions

from chat.upstream.classify import build_status_error
from chat.upstream.errors import (
    StreamBroken,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
    redact,
)
from chat.upstream.timeouts import ReusableTimeout
from chat.upstream.transport import Endpoint, Timeouts

# A reset connection surfaces as any of these, depending on the moment.
NETWORK_ERRORS = (httpx2.TransportError, aiohttp.ClientError, OSError)


@dataclass(slots=True)
class _SharedClient:
    client: AsyncOpenAI
    users: set[int] = field(default_factory=set)


_lock = Lock()
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Endpoint, _SharedClient]] = (
    WeakKeyDictionary()
)


def client_for(endpoint: Endpoint, user: object) -> AsyncOpenAI:
    """Return the client of the running loop; `user` keeps it open until `release`."""
    loop = asyncio.get_running_loop()
    with _lock:
        by_endpoint = _clients.setdefault(loop, {})
        shared = by_endpoint.get(endpoint)
        if shared is None:
            shared = by_endpoint[endpoint] = _SharedClient(_make_client(endpoint))
        shared.users.add(id(user))
        return shared.client


async def release(endpoint: Endpoint, user: object) -> None:
    """Release the client of the running loop; the last user closes its connections."""
    with _lock:
        by_endpoint = _clients.get(asyncio.get_running_loop(), {})
        shared = by_endpoint.get(endpoint)
        if shared is None:
            return
        shared.users.discard(id(user))
        if shared.users:
            return
        del by_endpoint[endpoint]
    await shared.client.close()


def _make_client(endpoint: Endpoint) -> AsyncOpenAI:
    return AsyncOpenAI(
        # The client requires a key; servers without keys ignore it.
        api_key=endpoint.api_key or "none",
        organization=endpoint.organization,
        project=endpoint.project,
        base_url=endpoint.base_url,
        max_retries=0,
        default_headers=dict(endpoint.headers),
        http_client=DefaultAioHttpClient(
            limits=httpx2.Limits(
                max_connections=endpoint.max_connections,
                max_keepalive_connections=endpoint.max_connections,
                keepalive_expiry=endpoint.keepalive,
            ),
            follow_redirects=False,
            trust_env=False,
        ),
    )


@asynccontextmanager
async def post_stream(
    client: AsyncOpenAI, endpoint: Endpoint, timeouts: Timeouts, path: str, body: dict[str, Any]
) -> AsyncGenerator[tuple[str, AsyncGenerator[bytes, None]], None]:
    """Yield (content type, reads) of a streaming POST; on exit, close what was not read.

    Raises UpstreamError, also from the reads.
    """
    content = orjson.dumps(body)
    try:
        async with asyncio.timeout(timeouts.connect + timeouts.first_byte):
            try:
                reply = await _post(client, timeouts, path, content)
            except openai.APIConnectionError as error:
                if not isinstance(_get_cause_chain(error)[-1], aiohttp.ClientConnectionResetError):
                    raise
                # The server closed a kept-alive connection just before its reuse (llama.cpp does so
                # after every reply). Nothing was sent, so this is no second attempt.
                reply = await _post(client, timeouts, path, content)
    except TimeoutError as error:
        raise _build_late_error(timeouts.first_byte) from error
    except (openai.OpenAIError, *NETWORK_ERRORS) as error:
        raise build_request_error(error, endpoint) from error
    reads = _reads(reply, timeouts)
    try:
        yield reply.headers.get("content-type", ""), reads
    finally:
        await reads.aclose()
        await reply.aclose()


async def _post(
    client: AsyncOpenAI, timeouts: Timeouts, path: str, content: bytes
) -> httpx2.Response:
    response = await client.post(
        path,
        cast_to=httpx2.Response,
        content=content,
        options={
            "headers": {"Content-Type": "application/json", "Accept": "text/event-stream"},
            "timeout": _build_timeout(timeouts),
        },
        stream=True,
        stream_cls=AsyncStream[Any],
    )
    return cast(httpx2.Response, response)


def _build_late_error(seconds: float) -> UpstreamTimeout:
    """Return the error for an answer that did not begin, which is not retried."""
    return UpstreamTimeout(
        f"The answer did not start within {seconds:g} s.", retryable=False, accepted=True
    )


async def _reads(reply: httpx2.Response, timeouts: Timeouts) -> AsyncGenerator[bytes, None]:
    read = _get_reader(reply)
    begun, wait = False, timeouts.first_byte
    patience = ReusableTimeout()
    try:
        while chunk := await patience.wait(read(), wait):
            begun, wait = True, timeouts.idle
            yield chunk
    except TimeoutError as error:
        if not begun:
            raise _build_late_error(wait) from error
        raise UpstreamTimeout(
            f"No data received from the model server for {wait:g} s.", accepted=True
        ) from error
    except (httpx2.DecodingError, *NETWORK_ERRORS) as error:
        raise StreamBroken(f"The answer was interrupted: {type(error).__name__}.") from error
    finally:
        patience.close()


def _get_reader(reply: httpx2.Response) -> Callable[[], Coroutine[Any, Any, bytes]]:
    """Return a function that reads the next bytes of the reply, b"" at its end.

    It is the transport's own reader: the client stacks five iterators on it, and each runs for
    every token. Compressed replies, and replies of a client with another transport, go through
    them.
    """
    inner = getattr(getattr(reply.stream, "_stream", None), "_aiohttp_response", None)
    content = getattr(inner, "content", None)
    if isinstance(content, aiohttp.StreamReader) and "content-encoding" not in reply.headers:
        return content.readany
    chunks = reply.aiter_bytes()

    async def read() -> bytes:
        return await anext(chunks, b"")

    return read


async def call(
    client: AsyncOpenAI,
    endpoint: Endpoint,
    timeouts: Timeouts,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Send a plain JSON request and return the answer. Raises UpstreamError."""
    send = FinalRequestOptions.construct(
        method=method, url=path, json_data=body, timeout=_build_timeout(timeouts)
    )
    try:
        async with asyncio.timeout(timeouts.connect + timeouts.first_byte):
            reply = await client.request(httpx2.Response, send)
    except (TimeoutError, openai.OpenAIError, *NETWORK_ERRORS) as error:
        raise build_request_error(error, endpoint) from error
    try:
        answer = orjson.loads(reply.content)
    except orjson.JSONDecodeError as error:
        raise UpstreamUnavailable(
            f"{path} did not return JSON. Check the base URL.",
            http_status=reply.status_code,
            retryable=False,
        ) from error
    if not isinstance(answer, dict):
        raise UpstreamUnavailable(f"{path} returned JSON of an unexpected form.", retryable=False)
    return answer


def _build_timeout(timeouts: Timeouts) -> httpx2.Timeout:
    # Reads are limited here, with different timeouts for the first byte and later ones; the
    # transport would arm a timer for every read.
    return httpx2.Timeout(connect=timeouts.connect, read=None, write=None, pool=timeouts.first_byte)


def build_request_error(error: BaseException, endpoint: Endpoint) -> UpstreamError:
    """Return the UpstreamError for an exception of the client before the answer began."""
    if isinstance(error, openai.APIStatusError):
        return build_status_error(
            error.status_code, error.body, error.response.headers, secret=endpoint.api_key
        )
    chain = _get_cause_chain(error)
    last = chain[-1]
    message = redact(f"{type(last).__name__}: {last}", endpoint.api_key)
    # The transport reports reset connections as "connect timeout"; only the last cause is accurate.
    if any(isinstance(cause, TimeoutError) for cause in chain):
        return UpstreamTimeout("The server is unreachable or did not answer in time.")
    if isinstance(last, (httpx2.UnsupportedProtocol, httpx2.InvalidURL, aiohttp.InvalidURL)):
        return UpstreamRefused(message)
    return UpstreamUnavailable(message)


def _get_cause_chain(error: BaseException) -> list[BaseException]:
    """Return the error and its causes: client and transport wrap it in less specific ones."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    return chain
