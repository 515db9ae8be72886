"""The order of a stream's events by the numbers that the model server gives them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from chat.upstream.errors import StreamBroken

Payload = dict[str, Any]

# Events that wait for one that is missing before them, and events that a repeat is compared with.
MAX_HELD = 8
MAX_COMPARED = 32
# The number that no event has.
NEVER = -2


class Numbering:
    """Yields events once and in order, as long as their numbers count without gaps.

    An event that comes ahead of its turn waits for the missing ones. Where these do not come soon,
    the server leaves numbers out, and no event waits any more. Numbers that stand for different
    events, as of servers that always send the same one, are not used at all. `is_idle` tells of
    an event that it may come at any time, `is_last` that none comes after it.
    """

    def __init__(
        self, *, is_idle: Callable[[Payload], bool], is_last: Callable[[Payload], bool]
    ) -> None:
        self._is_idle, self._is_last = is_idle, is_last
        self._first = self._next = NEVER
        self._used = True
        self._gaps = False
        self._held: dict[int, Payload] = {}
        # The newest events that were given on, the last of them has the number before `_next`.
        self._given: deque[tuple[int, Payload]] = deque(maxlen=MAX_COMPARED)

    def take(self, number: object, payload: Payload) -> tuple[Payload, ...]:
        """Return what is to be taken now, in order.

        Raises:
            StreamBroken: for an event that comes too late to be put in order.
        """
        if number == self._next:
            self._next = number + 1
            self._given.append((number, payload))
            return (payload, *self._release()) if self._held else (payload,)
        return self._out_of_order(number, payload)

    def rest(self) -> tuple[Payload, ...]:
        """Return what still waits, in order: nothing more comes."""
        held = tuple(payload for _number, payload in sorted(self._held.items()))
        self._held.clear()
        return held

    def _out_of_order(self, number: object, payload: Payload) -> tuple[Payload, ...]:
        is_number = isinstance(number, int) and not isinstance(number, bool) and number >= 0
        if not self._used or not is_number:
            return (*self.rest(), payload)
        assert isinstance(number, int)
        if self._next == NEVER:
            self._first, self._next = number, number + 1
            self._given.append((number, payload))
            return (payload,)
        if number < self._next:
            return self._late(number, payload)
        return self._ahead(number, payload)

    def _late(self, number: int, payload: Payload) -> tuple[Payload, ...]:
        same = [given for told, given in self._given if told == number]
        if payload in same:
            return ()
        if same:
            # The number stands for two events.
            self._used = False
            return (*self.rest(), payload)
        # Without gaps every number from the first one on was given before.
        if self._is_idle(payload) or (not self._gaps and number >= self._first):
            return ()
        raise StreamBroken("The events of the stream came in the wrong order.")

    def _ahead(self, number: int, payload: Payload) -> tuple[Payload, ...]:
        known = self._held.setdefault(number, payload)
        if known is not payload and known != payload:
            self._used = False
            return (*self.rest(), payload)
        if self._gaps or len(self._held) > MAX_HELD or self._is_last(payload):
            self._gaps = self._gaps or not self._is_last(payload)
            self._next = max(self._held) + 1
            self._given.extend(sorted(self._held.items()))
            return self.rest()
        return ()

    def _release(self) -> Iterator[Payload]:
        while self._next in self._held:
            payload = self._held.pop(self._next)
            self._given.append((self._next, payload))
            self._next += 1
            yield payload
