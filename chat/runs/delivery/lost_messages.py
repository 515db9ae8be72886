"""Messages that readers saw but that were lost with their process before being stored.

Autosave first stores a text about a second after it began. A process that dies earlier leaves no
row, and the take-over of the run finds no trace of the message. Readers who saw the message receive
its end event.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from chat import wire
from chat.models import RunStatus
from chat.runs.events import Cursor, Entry
from chat.runs.state.lifecycle import TERMINAL

# Run events after which nothing is written: a message without a row by then is lost.
REST_EVENTS = frozenset(f"thread.run.{status}" for status in {*TERMINAL, RunStatus.REQUIRES_ACTION})

MESSAGE, STEP, RUN = "thread.message", "thread.run.step", "thread.run"


def build_end_events(
    message_id: str, run: dict[str, Any], *, state: int, index: int | None = None
) -> Iterator[Entry]:
    """Yield the end events of a lost message and its step; `run` needs only ids."""
    step_id = f"step_{message_id.removeprefix('msg_')}"
    message = wire.render_lost_message(message_id, run)
    yield Entry(run["id"], state, "thread.message.incomplete", message)
    step = wire.render_lost_step(step_id, run, index=index)
    yield Entry(run["id"], state, "thread.run.step.failed", step)


def get_step_indexes(entries: Iterable[Entry]) -> dict[str, int]:
    """Return the index of each step in `entries`, by its message id, else by its own id."""
    steps = [entry.data for entry in entries if entry.data.get("object") == STEP]
    return {
        step["step_details"].get("message_creation", {}).get("message_id", step["id"]): index
        for step in steps
        if (index := step["atrium"]["index"]) is not None
    }


def find_open_messages(log: Iterable[Entry], run_id: str) -> dict[str, Entry]:
    """Return the assistant messages of a run that began but did not end in a log, by id."""
    found: dict[str, Entry] = {}
    for entry in log:
        if entry.run != run_id or entry.text is not None or entry.data.get("object") != MESSAGE:
            continue
        if entry.data["status"] != "in_progress":
            found.pop(entry.data["id"], None)
        elif entry.data.get("role") == "assistant":
            found[entry.data["id"]] = entry
    return found


def build_lost_ends(
    log: Collection[Entry], run_id: str, *, begun_by: int, state: int, kept: Collection[str] = ()
) -> list[Entry]:
    """Return the end events of messages in a log that no claim will continue.

    These began at a state number of at most `begun_by` and are not in `kept`.
    """
    lost = {
        message_id: entry.data
        for message_id, entry in find_open_messages(log, run_id).items()
        if entry.state <= begun_by and message_id not in kept
    }
    if not lost:
        return []
    indexes, ends = get_step_indexes(log), list[Entry]()
    for message_id, message in lost.items():
        run = {**message, "id": run_id}
        ends += build_end_events(message_id, run, state=state, index=indexes.get(message_id, 0))
    return ends


class UnknownMessages:
    """Messages that a client's cursor names but this process does not know.

    Each one either appears later, or is closed once the run continues without it.
    """

    def __init__(self, cursor: Cursor, known: Iterable[Entry], *, thread_id: str) -> None:
        self.cursor, self.thread_id = cursor, thread_id
        known_ids = {entry.item or entry.data.get("id") for entry in known}
        self.left = [item for item in cursor.offsets if item not in known_ids]

    def close_lost(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Yield the entries, each preceded by the end events of messages it proves lost."""
        for entry in entries:
            if self.left and entry.run == self.cursor.run:
                name = entry.item or entry.data.get("id")
                if name in self.left:
                    self.left.remove(name)
                elif self._proves_loss(entry):
                    yield from self._close_all()
            yield entry

    def _close_all(self) -> Iterator[Entry]:
        run = {"id": self.cursor.run, "thread_id": self.thread_id}
        lost, self.left = self.left, []
        for message_id in lost:
            # The client's own state number: it may disconnect before it gets the next entry.
            yield from build_end_events(message_id, run, state=self.cursor.state)

    def _proves_loss(self, entry: Entry) -> bool:
        """Return True if the run moved on from the client's message: it writes one at a time."""
        kind = entry.data.get("object")
        if kind == RUN:
            return entry.event in REST_EVENTS
        if entry.state <= self.cursor.state or entry.text is not None:
            return False
        if kind == STEP:
            creation = entry.data["step_details"].get("message_creation", {})
            return creation.get("message_id") not in self.left
        return bool(kind == MESSAGE and entry.data.get("role") == "assistant")
