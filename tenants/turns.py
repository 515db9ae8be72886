"""Turns of requests: a company that asks much keeps only its own requests waiting."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from contextvars import ContextVar

_current: ContextVar[RequestTurn | None] = ContextVar("atrium_turn", default=None)


class RequestTurns:
    """Lets `room` holders through at a time, `per_key` of one key; the others wait.

    What is freed goes to the waiting key that holds least.
    """

    def __init__(self, room: int, *, per_key: int) -> None:
        self._room = room
        self._per_key = per_key
        self._held: Counter[Hashable] = Counter()
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def taken(self, key: Hashable) -> AsyncIterator[None]:
        """Wait for a turn and hold it for the block, or until `end_turn`."""
        await self._take(key)
        turn = RequestTurn(self, key)
        token = _current.set(turn)
        try:
            yield
        finally:
            _current.reset(token)
            turn.end()

    def _has_room_for(self, key: Hashable) -> bool:
        return self._held.total() < self._room and self._held[key] < self._per_key

    async def _take(self, key: Hashable) -> None:
        if key not in self._waiting and self._has_room_for(key):
            self._held[key] += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._forget(key, turn)
            else:
                self.give_up(key)
            raise

    def give_up(self, key: Hashable) -> None:
        """Let the next one through."""
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]
        while self._waiting:
            # Of keys that hold as much, the one that has waited longest.
            key = min(self._waiting, key=lambda waiting: self._held[waiting])
            if not self._has_room_for(key):
                return
            turn = self._waiting[key][0]
            self._forget(key, turn)
            if not turn.done():
                turn.set_result(None)
                self._held[key] += 1

    def _forget(self, key: Hashable, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(key, deque())
        if turn in turns:
            turns.remove(turn)
            if turns:
                self._waiting.move_to_end(key)
            else:
                del self._waiting[key]


class RequestTurn:
    """A turn that a request holds."""

    def __init__(self, turns: RequestTurns, key: Hashable) -> None:
        self._turns = turns
        self._key = key
        self._loop = asyncio.get_running_loop()
        self._ended = False

    def end(self) -> None:
        """Let the next one through, once; in the thread of the event loop."""
        if not self._ended:
            self._ended = True
            self._turns.give_up(self._key)

    def end_soon(self) -> None:
        """Do as `end`, from any thread."""
        if not self._ended and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.end)


def end_turn() -> None:
    """End the turn of this request, if it holds one: what follows is slow and not the database's.

    Callable from the thread that serves the request.
    """
    turn = _current.get()
    if turn is not None:
        turn.end_soon()
