"""The websocket consumer in this process, so that a test can take the first wall away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from asgiref.testing import ApplicationCommunicator
from django.conf import settings

from chat.web.consumers import ChatConsumer
from tenants.asgi import PrincipalSocketMiddleware
from tenants.db import in_db
from tests.clock import WAIT_SECONDS
from tests.world import Company

# Turns of the event loop after which whatever needs no database has been sent.
TURNS = 50
Frame = dict[str, Any]


class SocketInProcess:
    """One socket; `ask` returns everything a frame brings, its answer first."""

    def __init__(self, communicator: Any) -> None:
        self.communicator = communicator

    async def ask(self, frame: Frame) -> list[Frame]:
        """Send a frame and return what comes before the socket is quiet again."""
        return await self.ask_raw(json.dumps(frame))

    async def ask_raw(self, text: str | None = None, data: bytes | None = None) -> list[Frame]:
        """Send a text or binary frame as it is and return what comes."""
        await self.communicator.send_input(
            {"type": "websocket.receive", "text": text, "bytes": data}
        )
        found = [await self._read()]
        for _turn in range(TURNS):
            await asyncio.sleep(0)
        while not self.communicator.output_queue.empty():
            found.append(await self._read())
        return found

    async def _read(self) -> Frame:
        message = await self.communicator.receive_output(timeout=WAIT_SECONDS)
        assert message["type"] == "websocket.send", message
        found: Frame = json.loads(message["text"])
        return found


@asynccontextmanager
async def socket_of(company: Company, name: str) -> AsyncIterator[SocketInProcess]:
    """Open a socket in which `name` is signed in for `company`."""
    key = await in_db(company.session_key, name)
    cookie = f"{settings.SESSION_COOKIE_NAME}={key}".encode()
    application = PrincipalSocketMiddleware(ChatConsumer.as_asgi())
    scope = {"type": "websocket", "path": "/ws/", "query_string": b""}
    headers = [(b"cookie", cookie)]
    communicator: Any = ApplicationCommunicator(  # type: ignore[no-untyped-call]
        application, {**scope, "headers": headers}
    )
    await communicator.send_input({"type": "websocket.connect"})
    accepted = await communicator.receive_output(timeout=WAIT_SECONDS)
    assert accepted["type"] == "websocket.accept"
    try:
        yield SocketInProcess(communicator)
    finally:
        await communicator.send_input({"type": "websocket.disconnect", "code": 1000})
        await communicator.wait(timeout=WAIT_SECONDS)
