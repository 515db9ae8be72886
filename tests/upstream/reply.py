"""Puts an answer on the wire: pace, faults, cuts."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from tests.clock import until
from tests.upstream.script import Answer, Dialect, FreeRun, Wire
from tests.upstream.wire import frames, token_frame, whole

NEVER = 3600.0


async def send_answer(
    request: web.Request,
    answer: Answer,
    *,
    wire: Wire,
    dialect: Dialect,
    model: str,
    kept: str | None,
    read: threading.Event,
    on_chunk: Callable[[], None] = lambda: None,
) -> web.StreamResponse:
    if answer.delay:
        await asyncio.sleep(answer.delay)
    if answer.reset:
        _reset(request)
        return web.Response()
    if answer.stall:
        await asyncio.sleep(NEVER)
    if answer.status != 200 or answer.body is not None:
        return web.Response(
            status=answer.status,
            headers=answer.headers,
            text=answer.body or "",
            content_type=answer.content_type,
        )
    if answer.unstreamed:
        return web.json_response(whole(answer, wire=wire, model=model))
    response = await _begin(request)
    if answer.malformed is not None:
        await response.write(answer.malformed.encode("latin-1"))
    else:
        sent = frames(answer, wire=wire, dialect=dialect, model=model, kept=kept)
        if answer.joined:
            sent = [(b"".join(frame for frame, _is_chunk in sent), False)]
        await _write(response, answer, sent, read=read, on_chunk=on_chunk)
        if answer.reset_after is not None:
            # It throws away what was not read.
            await until(read.is_set)
            _reset(request)
    await response.write_eof()
    return response


async def _begin(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    return response


async def _write(
    response: web.StreamResponse,
    answer: Answer,
    sent: list[tuple[bytes, bool]],
    *,
    read: threading.Event,
    on_chunk: Callable[[], None],
) -> None:
    limit = answer.end_after if answer.reset_after is None else answer.reset_after
    chunks = written = 0
    for frame, is_chunk in sent:
        if is_chunk and answer.stall_after == chunks:
            await asyncio.sleep(NEVER)
        if is_chunk and answer.held_after == chunks:
            await until(read.is_set)
        chunks += is_chunk
        data = frame if limit is None else frame[: limit - written]
        await _write_frame(response, data, answer.write_size)
        written += len(data)
        if is_chunk:
            on_chunk()
        if limit is not None and written >= limit:
            break
        if is_chunk and answer.pace:
            await asyncio.sleep(answer.pace)
    if answer.stall_after is not None:
        await asyncio.sleep(NEVER)


async def _write_frame(response: web.StreamResponse, data: bytes, size: int | None) -> None:
    if size is None:
        await response.write(data)
        return
    for start in range(0, len(data), size):
        await response.write(data[start : start + size])
        await asyncio.sleep(0)


def _reset(request: web.Request) -> None:
    """Close with a TCP reset instead of an orderly end."""
    transport = request.transport
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def send_free_run(
    request: web.Request, run: FreeRun, *, wire: Wire, body: dict[str, Any]
) -> web.StreamResponse:
    """`run.tokens` stamped tokens, each at its planned time whatever came before it."""
    response = await _begin(request)
    loop = asyncio.get_running_loop()
    ends = Answer(usage=(50, run.tokens, 0, 0))
    sent = frames(ends, wire=wire, dialect="openai", model=body["model"], kept=None)
    cut = 1 if wire == "chat" else 2
    for frame, _ in sent[:cut]:
        await response.write(frame)
    start = loop.time() + run.first
    for number in range(run.tokens):
        wait = start + number / run.rate - loop.time()
        if wait > 0:
            await asyncio.sleep(wait)
        await response.write(token_frame(f"{number}@{time.monotonic_ns()} ", wire))
    for frame, _ in sent[cut:]:
        await response.write(frame)
    await response.write_eof()
    return response
