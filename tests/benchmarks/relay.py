"""The least that can stand between a model server and a reader: what Atrium is held against.

    python -m tests.benchmarks.relay --port 9010 --to http://127.0.0.1:9009/v1/responses

Every POST is sent on, and the bytes of its answer come back as they arrive: nothing is parsed,
checked or stored.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

UPSTREAM: web.AppKey[aiohttp.ClientSession] = web.AppKey("upstream", aiohttp.ClientSession)


def make_app(address: str) -> web.Application:
    """Return the relay to `address`."""

    async def open_client(app: web.Application) -> AsyncIterator[None]:
        unlimited = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=unlimited) as client:
            app[UPSTREAM] = client
            yield

    async def pass_on(request: web.Request) -> web.StreamResponse:
        async with request.app[UPSTREAM].post(address, json=await request.json()) as answer:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
        await response.write_eof()
        return response

    app = web.Application()
    app.cleanup_ctx.append(open_client)
    app.router.add_post("/", pass_on)
    return app


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(description="A bare relay.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--to", required=True)
    given = parser.parse_args()
    loop = uvloop.new_event_loop()  # what uvicorn gives Atrium
    web.run_app(make_app(given.to), host="127.0.0.1", port=given.port, print=None, loop=loop)


if __name__ == "__main__":
    main()
