"""What threads, runs and readers should be like, for the state machine to compare with the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from chat.models import Message, Run
from chat.models.runs import ACTIVE_STATUSES
from chat.runs.engine.subscribe import Reader
from chat.runs.events import Cursor

WORKING, APPROVAL = timedelta(seconds=600), timedelta(hours=24)


@dataclass
class Answering:
    """What the active run of a thread should be. `phase`: asked, approval, output."""

    text: str
    due: datetime
    phase: str = "asked"
    words: str = ""
    repeats: int = 0
    takeovers: int = 0
    # Its process died, and nobody has taken it over.
    lost: bool = False
    # Why it is to stop, which its dead process was told.
    stopping: str = ""

    @property
    def status(self) -> str:
        if self.stopping:
            return "cancelling"
        return "in_progress" if self.phase == "asked" else "requires_action"


@dataclass
class InLine:
    """What waits for its turn: a message, or a run that brings one."""

    text: str
    run: str = ""


@dataclass
class Talk:
    """What a thread should hold."""

    thread: str
    said: list[str] = field(default_factory=list)
    waiting: list[InLine] = field(default_factory=list)
    answers: list[tuple[str, str]] = field(default_factory=list)
    ends: list[tuple[str, str]] = field(default_factory=list)
    active: Answering | None = None
    deleted: bool = False

    @property
    def is_asked(self) -> bool:
        """True while a model of a living process is to say something."""
        return self.active is not None and self.active.phase == "asked" and not self.active.lost

    def begin(self, text: str, now: datetime) -> None:
        """A new run answers this message."""
        self.said.append(text)
        self.active = Answering(text, due=now + WORKING)

    def end(self, status: str, reason: str, *, now: datetime, words: str | None = None) -> None:
        """The active run ends, and what has waited longest is answered."""
        run = self.active
        assert run is not None
        words = run.words if words is None else words
        if words:
            self.answers.append(("completed" if status == "completed" else "incomplete", words))
        self.ends.append((status, reason))
        self.active = None
        if self.waiting and not self.deleted:
            self.begin(self.waiting.pop(0).text, now)

    def wait(self, one: InLine, busy: str, *, now: datetime) -> None:
        """Something waits behind the active run, which only an interruption ends."""
        assert self.active is not None
        self.waiting.append(one)
        if busy == "interrupt":
            self.stop("interrupted", now)

    def stop(self, reason: str, now: datetime) -> None:
        """Somebody stops the active run."""
        run = self.active
        assert run is not None
        if run.lost:
            run.stopping = run.stopping or reason
        else:
            self.end("cancelled", reason, now=now)

    def goes_on(self, now: datetime, *, anew: bool) -> None:
        """A run that waited for somebody asks the model again, `anew` with all its time."""
        run = self.active
        assert run is not None
        run.phase, run.repeats = "asked", 0
        if anew:
            run.due = now + WORKING


@dataclass
class Client:
    """Somebody who reads a thread, loses the connection, and comes back with a cursor."""

    reader: Reader | None = None
    run: str = ""
    state: int = 0
    texts: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    # Of these it may hold more than what a dead process had stored.
    doubtful: set[str] = field(default_factory=set)

    def cursor(self) -> Cursor | None:
        return (
            Cursor(run=self.run, state=self.state, offsets={**self.lengths()}) if self.run else None
        )

    def lengths(self) -> dict[str, int]:
        return {item: len(text) for item, text in self.texts.items()}

    def read(self) -> None:
        assert self.reader is not None
        for entry in self.reader.take():
            if entry.run:
                self.run, self.state = entry.run, entry.state
            if entry.text is not None:
                self.texts[entry.item] = self.texts.get(entry.item, "") + entry.text
            elif entry.data.get("object") == "thread.run":
                self.statuses[entry.data["id"]] = entry.data["status"]
            elif entry.event in ("thread.message.completed", "thread.message.incomplete"):
                self._whole(entry.data)

    def _whole(self, message: dict[str, Any]) -> None:
        text = "".join(part["text"]["value"] for part in message["content"])
        have = self.texts.get(message["id"], "")
        assert have in ("", text) or message["id"] in self.doubtful
        self.texts[message["id"]] = text
        self.doubtful.discard(message["id"])


def check_messages(talk: Talk, rows: list[Message]) -> None:
    assert [m.position for m in rows] == list(range(1, len(rows) + 1))
    assert [m.text() for m in rows if m.role == "user"] == talk.said
    told = [(m.status, m.text()) for m in rows if m.role == "assistant"]
    assert [item for item in told if item[0] != "in_progress"] == talk.answers


def check_runs(talk: Talk, rows: list[Run]) -> None:
    ends = [(run.status, run.reason) for run in rows if run.status not in ACTIVE_STATUSES]
    assert sorted(ends) == sorted(talk.ends)
    assert [run.pk for run in rows if run.waiting] == [
        item.run for item in talk.waiting if item.run
    ]
    active = [run.status for run in rows if run.is_active]
    assert active == ([talk.active.status] if talk.active else [])


def check_client(client: Client, messages: list[Message], runs: list[Run]) -> None:
    statuses = {run.pk: run.status for run in runs}
    assert client.statuses == {run: statuses[run] for run in client.statuses}
    for message in messages:
        if message.pk in client.texts and message.status != "in_progress":
            told = client.texts[message.pk]
            assert message.pk in client.doubtful or told == message.text()


def chosen(pick: int, among: list[Any]) -> Any:
    return among[pick % len(among)]


def in_phase(phase: str) -> Callable[[Talk], bool]:
    return lambda talk: talk.active is not None and talk.active.phase == phase and not talk.deleted


def has_a_run_in_line(talk: Talk) -> bool:
    return any(item.run for item in talk.waiting) and not talk.deleted


def has_a_message_in_line(talk: Talk) -> bool:
    return any(not item.run for item in talk.waiting) and not talk.deleted


def can_be_stopped(talk: Talk) -> bool:
    return talk.active is not None and not talk.deleted


def has_words(talk: Talk) -> bool:
    return talk.is_asked and talk.active is not None and bool(talk.active.words)


def is_lost(talk: Talk) -> bool:
    return talk.active is not None and talk.active.lost


def can_be_read(talk: Talk) -> bool:
    return not talk.deleted and not is_lost(talk)


def can_retry(talk: Talk) -> bool:
    return talk.active is None and bool(talk.said) and not talk.deleted
