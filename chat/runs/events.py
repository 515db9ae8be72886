"""Events and text deltas sent to subscribers, and the cursors that resume them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from chat import wire


@dataclass(slots=True)
class Entry:
    """One event, or one text delta (then `text` is not None).

    `state` is the run's state number when the entry was created. `part` is the index of the text
    in the message's content; images come before it. Entries read from the rows of an active run
    are `approximate`: their state number may be lower than the one that was sent.
    """

    run: str
    state: int
    event: str
    data: dict[str, Any]
    item: str = ""
    text: str | None = None
    part: int = 0
    approximate: bool = False
    # The API's encoding of a text delta, cached by chat.api.events.
    sse: bytes | None = None
    _frame: str | None = None

    def get_frame(self, thread: str) -> str:
        """Return the encoded frame; cached after the first call."""
        if self._frame is None:
            self._frame = encode(self, thread)
        return self._frame


def encode(entry: Entry, thread: str) -> str:
    """Return the text frame described in docs/websocket.md."""
    body = {
        "type": "event",
        "thread": thread,
        "run": entry.run or None,
        "state": entry.state,
        "event": entry.event,
        "data": entry.data,
    }
    return orjson.dumps(body).decode()


@dataclass(frozen=True, slots=True)
class Cursor:
    """A client's position: a run's state number, and received code points by item."""

    run: str
    state: int
    offsets: Mapping[str, int] = field(default_factory=dict)


def merge_entries(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Merge adjacent deltas of the same text into one entry."""
    deltas: list[Entry] = []
    for entry in entries:
        if deltas and (entry.text is None or entry.item != deltas[-1].item):
            yield _join(deltas)
            deltas = []
        if entry.text is None:
            yield entry
        else:
            deltas.append(entry)
    if deltas:
        yield _join(deltas)


def _join(deltas: Sequence[Entry]) -> Entry:
    if len(deltas) == 1:
        return deltas[0]
    return build_continuation(deltas[-1], "".join(p.text or "" for p in deltas))


def build_text_entry(run: str, state: int, message_id: str, text: str, part: int = 0) -> Entry:
    """Return a `thread.message.delta` entry with `text`."""
    data = wire.message_delta(message_id, part, wire.text_continuation(text))
    return Entry(run, state, "thread.message.delta", data, item=message_id, text=text, part=part)


def build_continuation(entry: Entry, text: str) -> Entry:
    """Return a delta of the same text as `entry`, with `text` as its content."""
    return build_text_entry(entry.run, entry.state, entry.item, text, entry.part)


def get_text(message: Mapping[str, Any]) -> str:
    """Return the text of a message object from an event."""
    return "".join(part["text"]["value"] for part in message["content"] if part["type"] == "text")


def copy_entry(
    entry: Entry, state: int, *, event: str = "", data: dict[str, Any] | None = None
) -> Entry:
    """Return a copy of a stored event with another state number and optional name or data."""
    new_data = data or entry.data
    return Entry(entry.run, state, event or entry.event, new_data, approximate=entry.approximate)


def get_images(message: Mapping[str, Any]) -> list[Any]:
    """Return the images of a message, which are sent when it begins."""
    return [part for part in message["content"] if part["type"] == "image_file"]


def start_events(entry: Entry, *, state: int) -> Iterator[Entry]:
    """Yield the start events of the unfinished message in a stored event."""
    initial = {**entry.data, "content": get_images(entry.data)}
    for name in ("created", "in_progress"):
        yield copy_entry(entry, state, event=f"thread.message.{name}", data=initial)


def text_after(entry: Entry, length: int, *, state: int) -> Iterator[Entry]:
    """Yield the text of a stored message event after its first `length` code points."""
    text = get_text(entry.data)
    if len(text) > length:
        part = len(get_images(entry.data))
        yield build_text_entry(entry.run, state, entry.data["id"], text[length:], part)


def measure_ended_texts(entries: Iterable[Entry]) -> dict[str, int]:
    """Return the text length of each ended message, by message id; its last end event counts."""
    return {
        entry.data["id"]: len(get_text(entry.data))
        for entry in entries
        if entry.text is None
        and entry.data.get("object") == "thread.message"
        and entry.data["status"] != "in_progress"
    }


def _is_possibly_missing(entry: Entry, cursor: Cursor) -> bool:
    """Return whether a client may be missing `entry` although its state number is not higher.

    Ends, and starts of messages that the cursor does not contain, are sent again rather than
    lost: clients handle events idempotently.
    """
    if not entry.approximate:
        return False
    if entry.data.get("status") not in ("queued", "in_progress"):
        return True
    kind = entry.data.get("object")
    if kind == "thread.run.step":
        creation = entry.data["step_details"].get("message_creation", {})
        return creation.get("message_id") not in cursor.offsets
    return kind == "thread.message" and entry.data["id"] not in cursor.offsets


class Remainder:
    """Entries of a run that come after `cursor`. Pass the run's entries in order.

    `ended` is the final length of each ended text. Text that a process wrote beyond it was not
    stored and is no longer sent.
    """

    def __init__(self, cursor: Cursor, *, ended: Mapping[str, int] | None = None) -> None:
        self.cursor = cursor
        self._ended = ended or {}
        self._seen: dict[str, int] = {}

    def of(self, entry: Entry) -> Iterator[Entry]:
        """Yield `entry`, or the part of its text that the client does not have yet."""
        if entry.text is None:
            if entry.state > self.cursor.state or _is_possibly_missing(entry, self.cursor):
                yield entry
            return
        start = self._seen.get(entry.item, 0)
        end = self._seen[entry.item] = start + len(entry.text)
        end = min(end, self._ended.get(entry.item, end))
        begin = max(start, self.cursor.offsets.get(entry.item, 0))
        if begin < end:
            is_whole = end - begin == len(entry.text)
            yield (
                entry
                if is_whole
                else build_continuation(entry, entry.text[begin - start : end - start])
            )

    def count_ahead(self) -> dict[str, int]:
        """Return by how many code points the client is ahead of the passed entries, by item."""
        return {
            item: have - self._seen.get(item, 0)
            for item, have in self.cursor.offsets.items()
            if have > self._seen.get(item, 0) and item not in self._ended
        }
