"""Runs as server-sent events, in the Assistants API's order for every source of entries.

Every stream replays the entries of a run from its beginning: live, from another process, or from
the rows of a run that ended long ago. Each event has a place in the run, so a resumed stream
omits exactly what its client already has, to the character.

A place names its step. The first second of a message may be lost with its process; the step that
repeats it then has the same index. A client whose place names a lost step receives the end of that
step and of its message, and the new step from its beginning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import orjson

from chat import wire
from chat.errors import InvalidInput
from chat.models import RunStatus
from chat.runs.events import Entry
from chat.runs.state.lifecycle import TERMINAL
from chat.wire import WireObject

PRELUDE = ("created", "queued", "in_progress")
DONE = b"event: done\ndata: [DONE]\n\n"
# A comment is not an event, so no empty line follows it: clients dispatch at an empty line, and the
# official Python client does so even without data once an event has carried an id.
KEEP_ALIVE = b": keep-alive\n"
# Key of the run's ID in objects that are published when only a run's rows change.
RUN_ID_KEYS = {"thread.run": "id", "thread.run.step": "run_id"}
# A stream ends with one of these, although a waiting run continues later.
STREAM_ENDS = TERMINAL | {RunStatus.REQUIRES_ACTION}

# Order of the phases within a step; a run is at step -1 until its first step.
OPENED, UNDER_WAY, MESSAGE_OPENED, MESSAGE_UNDER_WAY, CONTENT, SETTLED, CLOSED = range(7)
_EVENT_ID = re.compile(
    r"(-1|[0-9]{1,6})\.([0-9])\.([0-9]{1,6})\.([0-9]{1,9})(?:\.([0-9]{1,16})\.([0-9A-Za-z]{1,32}))?\Z"
)


class OldEventId(InvalidInput):
    """This Last-Event-ID is from an old version. Omit it to stream the run from its beginning."""


class EventId(NamedTuple):
    """Position of a stream in its run, sent as the event ID.

    `offset` counts code points of the content part `part`. `key` names the step; `state` is the
    run's state number when the step was published. Of two steps with the same index, the one with
    the higher state repeats the other. Without a key, the place matches any step of this index.
    """

    step: int
    phase: int = 0
    part: int = 0
    offset: int = 0
    state: int = 0
    key: str = ""

    def __str__(self) -> str:
        named = f".{self.state}.{self.key}" if self.key else ""
        return f"{self.step}.{self.phase}.{self.part}.{self.offset}{named}"


BEFORE_RUN = EventId(-1)
AFTER_RUN = EventId(999_999, 9)


def parse_event_id(event_id: str) -> EventId | None:
    """Return the place that an event ID names, or None for any other text.

    Raises:
        OldEventId: the ID is of an earlier version and does not name its step.
    """
    match = _EVENT_ID.match(event_id)
    if match is None:
        return None
    step, phase, part, offset, state, key = match.groups(default="")
    place = EventId(int(step), int(phase), int(part), int(offset), int(state or 0), key)
    if not key and BEFORE_RUN.step < place.step < AFTER_RUN.step:
        raise OldEventId()
    return place


def get_remaining_prelude(place: EventId) -> tuple[str, ...]:
    """Return the initial run events that a client at `place` has not received."""
    return PRELUDE[place.phase :] if place.step == -1 else ()


def encode(event: str, data: WireObject) -> bytes:
    """Return one event without an id."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), orjson.dumps(data))


def add_event_id(encoded: bytes, place: EventId) -> bytes:
    """Return an encoded event with its place as its ID."""
    return b"id: %s\n%s" % (str(place).encode(), encoded)


def encode_error(code: str, message: str) -> bytes:
    """Return the event that ends a failed stream."""
    error = {"type": "server_error", "code": code, "message": message, "param": None}
    return b"event: error\ndata: %s\n\n" % orjson.dumps({"error": error})


class Sequencer:
    """Converter of one run's entries to its events.

    `run` is the run object used for statuses that were missed; `prelude` names the initial run
    events still to send, `at` the client's place. Entries of the run object with a state number
    below `since` are skipped. With `with_ids`, events carry their places as IDs.
    """

    def __init__(
        self,
        run: WireObject,
        *,
        at: EventId = BEFORE_RUN,
        prelude: Iterable[str] = PRELUDE,
        since: int = 0,
        with_ids: bool = True,
    ) -> None:
        self.run = run
        self.since = since
        self.at = at
        self.with_ids = with_ids
        # State and key of the step at `at`, and whether this stream has received an entry of it.
        self.state, self.key = at.state, at.key
        self.step_seen = False
        # Messages of superseded steps: a later step with the same index repeats them.
        self.superseded: set[str] = set()
        self.prelude = list(prelude)
        self.ended = False
        self.cancelling = False
        self.step_of: dict[str, int] = {}
        # How much of each message's text has been replayed so far, in code points.
        self.replayed: dict[str, int] = {}
        # Entries of messages whose step is not known yet.
        self.unassigned: dict[str, list[Entry]] = {}
        self.last_tools = -1
        self._out: list[bytes] = []

    def events(self, entries: Iterable[Entry]) -> list[bytes]:
        """Return the events that these entries add; none after the end of the run."""
        own = [entry for entry in entries if self._is_ours(entry)]
        for entry in own:
            # A replay may contain requires_action of a run that has been resumed since: skip it.
            waited = entry.event == "thread.run.requires_action" and entry is not own[-1]
            if not self.ended and not waited:
                self._process(entry)
        out, self._out = self._out, []
        return out

    def _is_ours(self, entry: Entry) -> bool:
        run = self.run["id"]
        if entry.text is not None:
            return bool(entry.run == run)
        # Entries of row changes only, such as the end of a run, do not set `run`.
        if not entry.run:
            name = RUN_ID_KEYS.get(entry.data.get("object", ""))
            return name is not None and bool(entry.data[name] == run)
        of_run = entry.data.get("object") == "thread.run"
        return entry.run == run and (entry.state >= self.since or not of_run)

    def catch_up(self, entries: Iterable[Entry]) -> list[bytes]:
        """Return the events of stored entries that this stream did not receive."""
        replayed, self.replayed = self.replayed, {}
        out = self.events(entries)
        self.replayed = replayed
        return out

    def _process(self, entry: Entry) -> None:
        kind = entry.data.get("object")
        if entry.text is not None:
            self._add_text(entry, entry.text)
        elif kind == "thread.run":
            self._add_run(entry.data)
        elif kind == "thread.run.step":
            self._add_step(entry.data, entry.state)
        elif kind == "thread.message" and entry.data["role"] == "assistant":
            self._add_message(entry)

    def _add_run(self, run: WireObject) -> None:
        status = run["status"]
        if status in PRELUDE:
            self._add_prelude(status, run)
            return
        self._add_prelude("in_progress", None)
        if status == "cancelling":
            if not self.cancelling:
                self.cancelling = True
                self._add("thread.run.cancelling", run, self.at)
            return
        self._end_lost(AFTER_RUN.step)
        self.ended = status in STREAM_ENDS
        waits = status == RunStatus.REQUIRES_ACTION
        place = self._build_event_id(self.last_tools, SETTLED) if waits else AFTER_RUN
        self._emit(place, f"thread.run.{status}", run)

    def _add_prelude(self, upto: str, run: WireObject | None) -> None:
        """Add the run's pending initial events, up to and including `upto`."""
        last = PRELUDE.index(upto)
        while self.prelude and PRELUDE.index(self.prelude[0]) <= last:
            name = self.prelude.pop(0)
            now = run if run is not None and run["status"] == name else None
            data = now or wire.run_as_begun(self.run, name)
            place = EventId(-1, PRELUDE.index(name) + 1)
            self.at = max(self.at, place)
            self._add(f"thread.run.{name}", data, self.at)

    def _add_step(self, step: WireObject, state: int) -> None:
        index, details = step["atrium"]["index"], step["step_details"]
        message = details.get("message_creation", {}).get("message_id", "")
        if not self._enter_step(index, get_step_key(step["id"]), state):
            self.superseded.add(message)
            self.unassigned.pop(message, None)
            return
        self._open(index, step)
        if step["type"] == "message_creation":
            self.step_of[message] = index
            for entry in self.unassigned.pop(message, []):
                self._process(entry)
        else:
            self.last_tools = index
            calls = details["tool_calls"]
            place = self._build_event_id(index, CONTENT, len(calls))
            self._emit(place, "thread.run.step.delta", wire.step_delta(step["id"], calls))
            written = wire.outputs_delta(step["id"], calls)
            if written is not None and step["status"] == "completed":
                place = self._build_event_id(index, CONTENT, len(calls), 1)
                self._emit(place, "thread.run.step.delta", written)
        if step["status"] != "in_progress":
            self._emit(
                self._build_event_id(index, CLOSED), f"thread.run.step.{step['status']}", step
            )

    def _enter_step(self, index: int, key: str, state: int) -> bool:
        """Record the step of an entry; return False if the client's step replaces it."""
        if index < self.at.step:
            return True
        if index > self.at.step:
            self._end_lost(index)
            self.state, self.key = state, key
        elif not self.key:
            self.state, self.key = state, key
            self.at = self.at._replace(state=state, key=key)
        elif key != self.key:
            if state <= self.state:
                return False
            self._end_lost(index)
            # The index is reused, so the place moves back before it.
            self.at = EventId(index - 1, 9)
            self.state, self.key = state, key
        self.step_seen = True
        return True

    def _end_lost(self, before: int) -> None:
        """Emit the end of the client's step if the run continued without it."""
        at = self.at
        is_open = BEFORE_RUN.step < at.step < AFTER_RUN.step and at.phase < CLOSED
        if self.step_seen or not is_open or not self.key or at.step > before:
            return
        if MESSAGE_OPENED <= at.phase < SETTLED:
            message = wire.render_lost_message(f"msg_{self.key}", self.run)
            self._emit(self._build_event_id(at.step, SETTLED), "thread.message.incomplete", message)
        step = wire.render_lost_step(f"step_{self.key}", self.run, index=at.step)
        self._emit(self._build_event_id(at.step, CLOSED), "thread.run.step.failed", step)

    def _open(self, index: int, step: WireObject) -> None:
        if self.at >= self._build_event_id(index, UNDER_WAY):
            return
        self._add_prelude("in_progress", None)
        initial = wire.step_as_begun(step)
        self._emit(self._build_event_id(index, OPENED), "thread.run.step.created", initial)
        self._emit(self._build_event_id(index, UNDER_WAY), "thread.run.step.in_progress", initial)

    def _add_message(self, entry: Entry) -> None:
        message = entry.data
        index = self.step_of.get(message["id"])
        if message["id"] in self.superseded:
            return
        if index is None:
            self.unassigned.setdefault(message["id"], []).append(entry)
            return
        if self.at < EventId(index, MESSAGE_UNDER_WAY):
            initial = wire.message_as_begun(message)
            self._emit(
                self._build_event_id(index, MESSAGE_OPENED), "thread.message.created", initial
            )
            place = self._build_event_id(index, MESSAGE_UNDER_WAY)
            self._emit(place, "thread.message.in_progress", initial)
        for part, content in enumerate(message["content"]):
            if content["type"] == "image_file":
                picture = wire.message_delta(message["id"], part, content)
                self._emit(
                    self._build_event_id(index, CONTENT, part, 1), "thread.message.delta", picture
                )
                continue
            text = content["text"]["value"] if content["type"] == "text" else content["refusal"]
            if content["type"] == "text":
                self.replayed[message["id"]] = len(text)
            have = self._count_received(index, part)
            if have < len(text):
                place = self._build_event_id(index, CONTENT, part, len(text))
                piece = _build_piece(content["type"], text[have:], have)
                data = wire.message_delta(message["id"], part, piece)
                self._emit(place, "thread.message.delta", data)
        if message["status"] != "in_progress":
            self._add_citations(index, message)
            place = self._build_event_id(index, SETTLED)
            self._emit(place, f"thread.message.{message['status']}", message)

    def _add_citations(self, index: int, message: WireObject) -> None:
        """Add the annotations of a message's text, which are complete only at its end."""
        for part, content in enumerate(message["content"]):
            if content["type"] == "text" and content["text"]["annotations"]:
                # One offset beyond the text: a client at this place has the annotations too.
                place = self._build_event_id(
                    index, CONTENT, part, len(content["text"]["value"]) + 1
                )
                annotations = enumerate(content["text"]["annotations"])
                delta_part = wire.text_part(
                    "", [{"index": number, **annotation} for number, annotation in annotations]
                )
                data = wire.message_delta(message["id"], part, delta_part)
                self._emit(place, "thread.message.delta", data)

    def _add_text(self, entry: Entry, text: str) -> None:
        index = self.step_of.get(entry.item)
        if index is None:
            if entry.item in self.superseded:
                return
            self.unassigned.setdefault(entry.item, []).append(entry)
            return
        start = self.replayed.get(entry.item, 0)
        end = self.replayed[entry.item] = start + len(text)
        have = self._count_received(index, entry.part)
        place = self._build_event_id(index, CONTENT, entry.part, end)
        if have <= start:
            # Every reader receives the same piece, so it is encoded only once.
            if entry.sse is None:
                data = entry.data
                if not start:
                    data = wire.message_delta(entry.item, entry.part, wire.text_part(text))
                entry.sse = encode("thread.message.delta", data)
            self.at = place
            self._out.append(add_event_id(entry.sse, place) if self.with_ids else entry.sse)
        elif have < end:
            piece = _build_piece("text", text[have - start :], have)
            data = wire.message_delta(entry.item, entry.part, piece)
            self._emit(place, "thread.message.delta", data)

    def _count_received(self, index: int, part: int) -> int:
        """Return how many code points of a part the client has received."""
        at = self.at
        if at.step == index and at.phase == CONTENT and at.part == part:
            return at.offset
        if self.at >= EventId(index, SETTLED) or self.at >= EventId(index, CONTENT, part + 1):
            return 1 << 60
        return 0

    def _build_event_id(self, index: int, phase: int, part: int = 0, offset: int = 0) -> EventId:
        """Return a place in the step at `index`; it names the step unless a later one has begun."""
        if index < self.at.step:
            return EventId(index, phase, part, offset)
        return EventId(index, phase, part, offset, self.state, self.key)

    def _emit(self, place: EventId, event: str, data: WireObject) -> None:
        if place > self.at:
            self.at = place
            self._add(event, data, place)

    def _add(self, event: str, data: WireObject, place: EventId) -> None:
        encoded = encode(event, data)
        self._out.append(add_event_id(encoded, place) if self.with_ids else encoded)


def get_step_key(step_id: str) -> str:
    """Return the text that names a step in a place: its ID without the prefix."""
    return step_id.partition("_")[2]


def _build_piece(kind: str, text: str, offset: int) -> WireObject:
    """Return the content of a delta: text that starts at `offset` of its part."""
    if kind == "refusal":
        return {"type": kind, kind: text}
    return wire.text_continuation(text) if offset else wire.text_part(text)
