"""Fair request concurrency: a company with many requests delays only its own."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from contextvars import ContextVar

_current: ContextVar[RequestTurn | None] = ContextVar("atrium_turn", default=None)


class RequestTurns:
    """Limit of `room` concurrent holders, at most `per_key` per key; others wait.

    A released turn goes to the waiting key that holds the fewest turns.
    """

    def __init__(self, room: int, *, per_key: int) -> None:
        self._room = room
        self._per_key = per_key
        self._held: Counter[Hashable] = Counter()
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def hold(self, key: Hashable) -> AsyncIterator[None]:
        """Wait for a turn and hold it until the block or `end_turn` ends it."""
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
                self._remove_waiter(key, turn)
            else:
                self.release(key)
            raise

    def release(self, key: Hashable) -> None:
        """Release a turn and grant it to the next waiting request."""
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]
        while self._waiting:
            # Among keys with equally many turns, the one that has waited longest.
            key = min(self._waiting, key=lambda waiting: self._held[waiting])
            if not self._has_room_for(key):
                return
            turn = self._waiting[key][0]
            self._remove_waiter(key, turn)
            if not turn.done():
                turn.set_result(None)
                self._held[key] += 1

    def _remove_waiter(self, key: Hashable, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(key, deque())
        if turn in turns:
            turns.remove(turn)
            if turns:
                self._waiting.move_to_end(key)
            else:
                del self._waiting[key]


class RequestTurn:
    """A turn held by a request."""

    def __init__(self, turns: RequestTurns, key: Hashable) -> None:
        self._turns = turns
        self._key = key
        self._loop = asyncio.get_running_loop()
        self._ended = False

    def end(self) -> None:
        """Release the turn once. Call in the event loop's thread."""
        if not self._ended:
            self._ended = True
            self._turns.release(self._key)

    def end_soon(self) -> None:
        """Release the turn from any thread; see `end`."""
        if not self._ended and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.end)


def end_turn() -> None:
    """End this request's turn, if it holds one, before slow work outside the database.

    Callable from the thread that serves the request.
    """
    turn = _current.get()
    if turn is not None:
        turn.end_soon()
