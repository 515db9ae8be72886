"""Parser of server-sent events, written by hand because it runs for every token."""

from __future__ import annotations

import json
from typing import Any

import orjson

from chat.upstream.errors import StreamBroken

MAX_BYTES_PER_EVENT = 16 * 1024 * 1024
DONE = b"[DONE]"


class EventSplitter:
    """Splits reads of any size into the `data` of complete events; comments and ids are dropped.

    `event: error` is the only event name that matters, because some servers report errors only
    there: such data is returned with True.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._held_return = False
        self._started = False

    def feed(self, chunk: bytes) -> list[tuple[bytes, bool]]:
        """Return (data, is error) of the events completed by `chunk`. Raises StreamBroken."""
        if not self._started and chunk:
            self._started = True
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
        if self._held_return or b"\r" in chunk:
            chunk = self._normalise_newlines(chunk)
        events: list[tuple[bytes, bool]] = []
        buffer = self._buffer
        if not buffer and chunk.endswith(b"\n\n"):
            for block in chunk[:-2].split(b"\n\n"):
                _parse_block(block, events)
            return events
        search_from = max(0, len(buffer) - 1)
        buffer += chunk
        end = buffer.find(b"\n\n", search_from)
        if end < 0:
            if len(buffer) > MAX_BYTES_PER_EVENT:
                raise StreamBroken("An event of the stream is larger than 16 MiB.")
            return events
        start = 0
        while end >= 0:
            _parse_block(bytes(buffer[start:end]), events)
            start = end + 2
            end = buffer.find(b"\n\n", start)
        del buffer[:start]
        return events

    def end(self) -> list[tuple[bytes, bool]]:
        """Return the last event if the server omitted the empty line after it."""
        events: list[tuple[bytes, bool]] = []
        _parse_block(bytes(self._buffer), events)
        self._buffer.clear()
        return events

    def _normalise_newlines(self, chunk: bytes) -> bytes:
        if self._held_return:
            chunk = b"\r" + chunk
        self._held_return = chunk.endswith(b"\r")
        if self._held_return:
            chunk = chunk[:-1]
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _parse_block(block: bytes, events: list[tuple[bytes, bool]]) -> None:
    # Nearly every event is one line of data, alone or after a line with its name.
    head, _, last = block.rpartition(b"\n")
    is_named = head.startswith(b"event: ") and b"\n" not in head
    if last.startswith(b"data: ") and (is_named or not head):
        events.append((last[6:], head == b"event: error"))
        return
    data: list[bytes] = []
    is_error = False
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event" and value == b"error":
            is_error = True
    if data:
        events.append((b"\n".join(data), is_error))


def decode(data: bytes) -> Any:
    """Parse one event's JSON. Raises StreamBroken.

    orjson rejects lone surrogates, which servers send when they cut an emoji between two deltas;
    the slow parser accepts them and `TextCleaner` joins the halves.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StreamBroken("The stream contains an event that is not JSON.") from error
