"""Websocket of the chat page: parse a frame, call one action, push events."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any
from uuid import UUID

import orjson
import structlog
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DatabaseError

from chat import wire
from chat.actions.runs.approvals import decide_call
from chat.actions.runs.manage import cancel_run, retry_run
from chat.actions.send_message import create_message, delete_queued_message
from chat.conf import conf
from chat.errors import RateLimited, Unavailable
from chat.rates import FrameRate
from chat.runs.delivery.revocation import Connection
from chat.runs.engine.subscribe import Reader, follow
from chat.runs.engine.worker import worker
from chat.runs.events import Cursor, Entry
from chat.upstream.timeouts import ReusableTimeout
from chat.web.frames import parse_frame, parse_request_id
from chat.web.history import render_created_message
from tenants.authentication import Principal
from tenants.db import in_db
from tenants.errors import AtriumError
from tenants.outages import log_outage

log = structlog.get_logger(__name__)

SIGN_IN_AGAIN, COMPANY_CHANGED, TOO_SLOW, TOO_MANY = 4001, 4003, 4008, 4029
MAX_SUBSCRIPTIONS = 50

_open_sockets: Counter[UUID] = Counter()


class ChatConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """Websocket of one browser tab, authenticated at the handshake and closed on revocation."""

    def __init__(self) -> None:
        super().__init__()
        self.principal: Principal | None = None
        self.counted: UUID | None = None
        self.access_ended = False
        self.rate = FrameRate()
        self.pumps: dict[str, asyncio.Task[None]] = {}
        self.readers: dict[str, Reader] = {}
        self.unwatch: Callable[[], None] = lambda: None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one socket and release its resources however it ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            # `disconnect` is not called for a socket that ends with an error.
            await self._release()

    async def connect(self) -> None:
        """Accept the socket; close it with a reason code if it must not stay open."""
        await self.accept()
        principal: Principal | None = self.scope["principal"]
        asserted = self.scope["asserted_membership"]
        if principal is None or principal.membership_id is None:
            await self.close(code=SIGN_IN_AGAIN)
        elif asserted is not None and asserted != str(principal.membership_id):
            await self.close(code=COMPANY_CHANGED)
        elif _open_sockets[principal.membership_id] >= conf.sockets_per_user:
            await self.close(code=TOO_MANY)
        else:
            self._open(principal, principal.membership_id)

    def _open(self, principal: Principal, membership_id: UUID) -> None:
        self.principal, self.counted = principal, membership_id
        _open_sockets[membership_id] += 1
        self.unwatch = worker.watch(
            Connection(
                membership=membership_id,
                key=None,
                sign_in=self.scope["sign_in"],
                since=self.scope["since"],
                close=self._handle_revocation,
            )
        )

    def _handle_revocation(self) -> None:
        self.access_ended = True
        self.closing = asyncio.create_task(self.close(code=SIGN_IN_AGAIN))

    async def disconnect(self, code: int) -> None:
        """Stop reading; runs continue without readers."""
        await self._release()

    async def _release(self) -> None:
        self.unwatch()
        if self.counted is not None:
            _open_sockets[self.counted] -= 1
            if not _open_sockets[self.counted]:
                del _open_sockets[self.counted]
            self.counted = None
        for thread in list(self.readers):
            await self._drop(thread)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answer one frame with an ack or an error; the socket stays open in both cases."""
        if self.principal is None or self.access_ended:
            return
        try:
            self.rate.check(monotonic())
        except RateLimited as error:
            await self._send_error(text_data, error)
            # Refusals are rate-limited too: do not read the socket faster than this.
            await asyncio.sleep(1 / conf.frames_per_second)
            return
        try:
            frame = parse_frame(text_data)
            answer, afterwards = await self._dispatch(frame)
        except AtriumError as error:
            await self._send_error(text_data, error)
            return
        except DatabaseError as error:
            if not log_outage(error, work="frame"):
                log.exception("frame_failed")
            await self._send_error(text_data, Unavailable())
            return
        await self._send_response({"type": "ack", "id": frame["id"], **answer})
        if afterwards is not None:
            afterwards()

    async def _dispatch(
        self, frame: dict[str, Any]
    ) -> tuple[dict[str, Any], Callable[[], None] | None]:
        answer = await ACTIONS[frame["type"]](self, frame)
        return answer if isinstance(answer, tuple) else (answer, None)

    async def _send_error(self, text_data: str | None, error: AtriumError) -> None:
        body: dict[str, Any] = {"code": error.code, "message": str(error.message)}
        body["param"] = error.param
        if error.retry_after is not None:
            body["retry_after"] = error.retry_after
        await self._send_response(
            {"type": "error", "id": parse_request_id(text_data), "error": body}
        )

    async def _send_response(self, body: dict[str, Any]) -> None:
        await self.send(text_data=orjson.dumps(body).decode())

    @property
    def _principal(self) -> Principal:
        assert self.principal is not None
        return self.principal

    async def subscribe(self, frame: dict[str, Any]) -> Any:
        """Subscribe to a thread from the client's cursor."""
        return await self._subscribe(frame["thread"], cursor=frame["cursor"])

    async def _subscribe(
        self, thread: str, *, cursor: Cursor | None, run_id: str | None = None
    ) -> tuple[dict[str, Any], Callable[[], None]]:
        await self._drop(thread)
        stored, reader = await follow(self._principal, thread, cursor=cursor, run_id=run_id)
        if len(self.readers) >= MAX_SUBSCRIPTIONS:
            await self._drop(next(iter(self.readers)))
        self.readers[thread] = reader

        def pump() -> None:
            self.pumps[thread] = asyncio.create_task(self._pump(thread, reader))

        return {"thread": stored.thread, "active_run": stored.active_run}, pump

    async def unsubscribe(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Unsubscribe from a thread."""
        await self._drop(frame["thread"])
        return {}

    async def _drop(self, thread: str) -> None:
        pump = self.pumps.pop(thread, None)
        if pump is not None:
            pump.cancel()
            with suppress(asyncio.CancelledError):
                await pump
        reader = self.readers.pop(thread, None)
        if reader is not None:
            reader.close()

    async def _pump(self, thread: str, reader: Reader) -> None:
        """Send new entries; a slow reader gets merged frames and is finally disconnected."""
        # One timer for all writes: the server first waits for buffer space and then writes a
        # whole frame, so a write that times out has not begun.
        patience, seconds = ReusableTimeout(), conf.slow_seconds
        try:
            while True:
                for entry in await reader.entries(partial(self._send_at_once, thread)):
                    await patience.wait(self.send(text_data=entry.get_frame(thread)), seconds)
        except TimeoutError:
            log.info("slow_reader_closed", seconds=seconds)
            self.closing = asyncio.create_task(self.close(code=TOO_SLOW))
        except (OSError, RuntimeError):
            return  # the socket is closed; `disconnect` follows
        finally:
            patience.close()

    def _send_at_once(self, thread: str, entry: Entry) -> bool:
        """Send an entry without waiting, in the current event-loop iteration; return True if sent.

        Skipping an event-loop iteration saves about 10 % of the per-token cost. If the send
        buffer is full, nothing is written yet: the pump waits and sends the entry itself.
        """
        sending = self.base_send({"type": "websocket.send", "text": entry.get_frame(thread)})
        try:
            sending.send(None)
        except StopIteration:
            return True
        except (OSError, RuntimeError):
            return False  # the pump gets the same error and ends
        sending.close()
        return False

    async def create_message(self, frame: dict[str, Any]) -> Any:
        """Create a message and subscribe to its thread if necessary."""
        sent = await in_db(
            create_message,
            self._principal,
            frame["thread"],
            assistant_id=frame["assistant"],
            content=frame["content"],
            attachments=frame["attachments"],
            client_id=frame["client_id"],
            busy=frame["busy"],
        )
        answer = render_created_message(sent)
        if sent.thread.pk in self.readers:
            return answer
        run_id = sent.run.pk if sent.run else None
        _thread, pump = await self._subscribe(sent.thread.pk, cursor=None, run_id=run_id)
        return answer, pump

    async def delete_queued(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Delete a queued message."""
        await in_db(delete_queued_message, self._principal, frame["message"])
        return {}

    async def cancel(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Cancel a run."""
        run = await in_db(cancel_run, self._principal, frame["run"])
        return {"run": wire.run_object(run)}

    async def retry(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Run the assistant on the last message again."""
        run = await in_db(
            retry_run, self._principal, frame["thread"], assistant_id=frame["assistant"]
        )
        return {"run": wire.run_object(run)}

    async def decide(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Approve or decline a tool call."""
        run = await in_db(
            decide_call,
            self._principal,
            frame["run"],
            frame["call"],
            decision=frame["decision"],
            arguments_hash=frame["arguments_hash"],
        )
        return {"run": wire.run_object(run)}

    async def ping(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Acknowledge a heartbeat."""
        return {}


ACTIONS: dict[str, Callable[[ChatConsumer, dict[str, Any]], Awaitable[Any]]] = {
    "subscribe": ChatConsumer.subscribe,
    "unsubscribe": ChatConsumer.unsubscribe,
    "message.create": ChatConsumer.create_message,
    "message.delete_queued": ChatConsumer.delete_queued,
    "run.cancel": ChatConsumer.cancel,
    "run.retry": ChatConsumer.retry,
    "tool.decide": ChatConsumer.decide,
    "ping": ChatConsumer.ping,
}
