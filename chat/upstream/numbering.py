"""Ordering of a stream's events by the model server's sequence numbers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from chat.upstream.errors import StreamBroken

Payload = dict[str, Any]

# Maximum of events held for a missing one, and of events that a repeat is compared with.
MAX_HELD = 8
MAX_COMPARED = 32
# A number that no event has.
NO_NUMBER = -2


class EventSequencer:
    """Returns each event once and in order, as long as the numbers have no gaps.

    An event that arrives early is held until the missing ones arrive. If they do not arrive soon,
    the server skips numbers, and events are no longer held. If one number is used for different
    events (some servers always send the same one), numbers are ignored. `is_idle` is true for
    events that may arrive at any time, `is_last` for those that end the stream.
    """

    def __init__(
        self, *, is_idle: Callable[[Payload], bool], is_last: Callable[[Payload], bool]
    ) -> None:
        self._is_idle, self._is_last = is_idle, is_last
        self._first = self._next = NO_NUMBER
        self._used = True
        self._gaps = False
        self._held: dict[int, Payload] = {}
        # The latest events returned; the last of them has the number before `_next`.
        self._given: deque[tuple[int, Payload]] = deque(maxlen=MAX_COMPARED)

    def take(self, number: object, payload: Payload) -> tuple[Payload, ...]:
        """Return the events that are now due, in order.

        Raises:
            StreamBroken: the event arrived too late to be put in order.
        """
        if number == self._next:
            self._next = number + 1
            self._given.append((number, payload))
            return (payload, *self._release()) if self._held else (payload,)
        return self._handle_out_of_order(number, payload)

    def flush(self) -> tuple[Payload, ...]:
        """Return the events still held, in order. Call it at the end of the stream."""
        held = tuple(payload for _number, payload in sorted(self._held.items()))
        self._held.clear()
        return held

    def _handle_out_of_order(self, number: object, payload: Payload) -> tuple[Payload, ...]:
        is_number = isinstance(number, int) and not isinstance(number, bool) and number >= 0
        if not self._used or not is_number:
            return (*self.flush(), payload)
        assert isinstance(number, int)
        if self._next == NO_NUMBER:
            self._first, self._next = number, number + 1
            self._given.append((number, payload))
            return (payload,)
        if number < self._next:
            return self._handle_late(number, payload)
        return self._handle_early(number, payload)

    def _handle_late(self, number: int, payload: Payload) -> tuple[Payload, ...]:
        same = [given for known_number, given in self._given if known_number == number]
        if payload in same:
            return ()
        if same:
            # One number, two events: numbers are unusable.
            self._used = False
            return (*self.flush(), payload)
        # Without gaps, every number since the first one has already been returned.
        if self._is_idle(payload) or (not self._gaps and number >= self._first):
            return ()
        raise StreamBroken("The events of the stream arrived out of order.")

    def _handle_early(self, number: int, payload: Payload) -> tuple[Payload, ...]:
        known = self._held.setdefault(number, payload)
        if known is not payload and known != payload:
            self._used = False
            return (*self.flush(), payload)
        if self._gaps or len(self._held) > MAX_HELD or self._is_last(payload):
            self._gaps = self._gaps or not self._is_last(payload)
            self._next = max(self._held) + 1
            self._given.extend(sorted(self._held.items()))
            return self.flush()
        return ()

    def _release(self) -> Iterator[Payload]:
        while self._next in self._held:
            payload = self._held.pop(self._next)
            self._given.append((self._next, payload))
            self._next += 1
            yield payload
