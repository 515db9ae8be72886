"""The least that can stand between a model server and a chat: what Atrium is held against.

    python -m tests.benchmarks.relay --port 9010 --to http://127.0.0.1:9009/v1/responses

The same job as Atrium's socket, on aiohttp at both ends: the message on a websocket is a request
to the upstream, and each read of its event stream goes back as one text frame. Nothing is parsed,
checked or stored.
"""

from __future__ import annotations

import argparse
import codecs
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

JSON = {"Content-Type": "application/json"}
UPSTREAM: web.AppKey[aiohttp.ClientSession] = web.AppKey("upstream", aiohttp.ClientSession)


def make_app(address: str) -> web.Application:
    """Return the relay to `address`."""

    async def open_client(app: web.Application) -> AsyncIterator[None]:
        unlimited = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=unlimited) as client:
            app[UPSTREAM] = client
            yield

    async def pass_on(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        asked = await socket.receive_str()
        async with request.app[UPSTREAM].post(address, data=asked, headers=JSON) as answer:
            # A read may end within a character.
            decode = codecs.getincrementaldecoder("utf-8")().decode
            async for chunk in answer.content.iter_any():
                await socket.send_str(decode(chunk))
        await socket.close()
        return socket

    app = web.Application()
    app.cleanup_ctx.append(open_client)
    app.router.add_get("/", pass_on)
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
