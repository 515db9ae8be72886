"""Whatever people, models, crashes and time do in any order, the rows are what a small model says.

`HYPOTHESIS_PROFILE=long` tries many more orders.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings as django_settings
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chat.actions.approvals import decide_call
from chat.actions.messages import create_message, delete_queued_message
from chat.actions.new_runs import create_run
from chat.actions.outputs import submit_tool_outputs
from chat.actions.runs import cancel_run, retry_run
from chat.actions.threads import delete_thread, restore_thread
from chat.errors import NothingToRetry, ThreadBusy
from chat.models import Message, Run, RunStep, ToolCall
from chat.models.runs import ACTIVE, PENDING
from chat.runs.follow import Reader, follow
from chat.runs.live import Cursor
from chat.tools.registry import TOOLS
from chat.upstream.base import (
    Finished,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
    UsageReported,
)
from chat.upstream.errors import StreamBroken, UpstreamRefused
from tenants.db import in_db
from tests.chat.at_work import QUIET
from tests.chat.stepped import NAME, House
from tests.model_server import make_assistant
from tests.world import Company, World

WORKING, APPROVAL = timedelta(seconds=600), timedelta(hours=24)
MOST_TAKEOVERS = 3
PICK = st.integers(min_value=0, max_value=50)
FUNCTION = {"name": "own", "parameters": {"type": "object"}}
TOOL_LIST = [
    {"type": "function", "function": {"name": "wipe"}},
    {"type": "function", "function": {"name": "look"}},
    {"type": "function", "function": FUNCTION},
]


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


class Machine(RuleBasedStateMachine):
    """Rules say what is done and what should come of it."""

    def __init__(self, company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.company = company
        self.principal = company.principal("alice")
        self.house = House(company)
        self.talks: list[Talk] = []
        self.clients: dict[str, Client] = {}
        self.counter = 0
        self.approved: list[str] = []
        self.patch = monkeypatch
        for made in self.house.make_tools():
            monkeypatch.setitem(TOOLS, made.name, made)
        monkeypatch.setattr(timezone, "now", self.house.clock.now)
        # Fields keep the function they were declared with.
        sent_at = Message._meta.get_field("created_at")
        monkeypatch.setitem(sent_at.__dict__, "_get_default", self.house.clock.now)
        self.assistant = make_assistant(company, upstream=NAME, tools=TOOL_LIST)
        self.house.open()

    def teardown(self) -> None:
        try:
            for talk in self.talks:
                if talk.active is not None and talk.active.lost:
                    self._taken_over(talk)
            self.check()
        finally:
            self.house.close()
            self.patch.setattr(timezone, "now", self.house.clock.real)
            with self.company.scope():
                Run.objects.active().update(status="cancelled", reason="stopped")

    # What the rules share

    def do(self, action: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.house.call(in_db(action, self.principal, *args, **kwargs))

    def where(self, wanted: Callable[[Talk], bool]) -> list[Talk]:
        return [talk for talk in self.talks if wanted(talk)]

    def next_text(self) -> str:
        self.counter += 1
        return f"message {self.counter} of {id(self)}"

    def begin(self, talk: Talk, text: str) -> None:
        talk.said.append(text)
        talk.active = Answering(text, due=self.house.clock.now() + WORKING)

    def end(self, talk: Talk, status: str, reason: str, *, words: str | None = None) -> None:
        """Note the end of a thread's active run, and that the next message is answered."""
        run = talk.active
        assert run is not None
        words = run.words if words is None else words
        if words:
            talk.answers.append(("completed" if status == "completed" else "incomplete", words))
        talk.ends.append((status, reason))
        talk.active = None
        if talk.waiting and not talk.deleted:
            self.begin(talk, talk.waiting.pop(0).text)

    def wait(self, talk: Talk, one: InLine, busy: str) -> None:
        """Note that something waits behind the active run, and what that does to it."""
        assert talk.active is not None
        talk.waiting.append(one)
        if busy == "interrupt":
            self.stop(talk, "interrupted")
        elif talk.active.phase == "approval":
            self.goes_on(talk, anew=True)

    def stop(self, talk: Talk, reason: str) -> None:
        """Note that somebody stops the active run."""
        run = talk.active
        assert run is not None
        if run.lost:
            run.stopping = run.stopping or reason
        else:
            self.end(talk, "cancelled", reason)

    def goes_on(self, talk: Talk, *, anew: bool) -> None:
        """Note that a run that waited asks the model again."""
        run = talk.active
        assert run is not None
        run.phase, run.repeats = "asked", 0
        if anew:
            run.due = self.house.clock.now() + WORKING

    def last_end(self, talk: Talk) -> str:
        with self.company.scope():
            run = Run.objects.filter(thread_id=talk.thread).latest("created_at", "id")
        return str(run.status)

    def row(self, talk: Talk) -> Run:
        with self.company.scope():
            found: Run = Run.objects.active().get(thread_id=talk.thread)
            return found

    def stored_words(self, talk: Talk) -> str:
        """Return what a dead process had stored of what it heard."""
        assert talk.active is not None
        with self.company.scope():
            cut = Message.objects.filter(thread_id=talk.thread, status="in_progress").first()
        text = cut.text() if cut else ""
        assert talk.active.words.startswith(text)
        return text

    # People

    @initialize()
    def begin_with_a_thread(self) -> None:
        self.open_a_thread()

    @precondition(lambda self: len(self.talks) < 4)
    @rule()
    def another_thread(self) -> None:
        self.open_a_thread()

    def open_a_thread(self) -> None:
        text = self.next_text()
        sent = self.do(
            create_message, None, assistant_id=self.assistant, text=text, client_id=str(uuid4())
        )
        talk = Talk(sent.thread.pk)
        self.talks.append(talk)
        self.begin(talk, text)

    @precondition(lambda self: self.where(lambda talk: not talk.deleted))
    @rule(pick=PICK, busy=st.sampled_from(["queue", "queue", "interrupt", "reject"]))
    def write(self, pick: int, busy: str) -> None:
        talk = chosen(pick, self.where(lambda talk: not talk.deleted))
        text = self.next_text()
        send = partial(
            self.do,
            create_message,
            talk.thread,
            assistant_id=self.assistant,
            text=text,
            client_id=text,
            busy=busy,
        )
        if busy == "reject" and talk.active is not None:
            with pytest.raises(ThreadBusy):
                send()
            return
        first = send()
        if talk.active is None:
            self.begin(talk, text)
        else:
            self.wait(talk, InLine(text), busy)
        assert send().message.pk == first.message.pk

    @precondition(lambda self: self.where(lambda talk: not talk.deleted))
    @rule(pick=PICK, busy=st.sampled_from(["queue", "interrupt", "reject"]))
    def ask_for_a_run(self, pick: int, busy: str) -> None:
        talk = chosen(pick, self.where(lambda talk: not talk.deleted))
        text = self.next_text()
        ask = partial(
            self.do,
            create_run,
            talk.thread,
            assistant_id=self.assistant,
            additional_messages=[{"role": "user", "content": text}],
            busy=busy,
        )
        if busy == "reject" and talk.active is not None:
            with pytest.raises(ThreadBusy):
                ask()
            return
        run = ask()
        if talk.active is None:
            self.begin(talk, text)
        else:
            self.wait(talk, InLine(text, run.pk), busy)

    @precondition(lambda self: self.where(has_a_run_in_line))
    @rule(pick=PICK)
    def cancel_in_line(self, pick: int) -> None:
        talk = chosen(pick, self.where(has_a_run_in_line))
        one = next(one for one in talk.waiting if one.run)
        self.do(cancel_run, one.run)
        talk.waiting.remove(one)
        talk.ends.append(("cancelled", "stopped"))

    @precondition(lambda self: self.where(can_be_stopped))
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        talk = chosen(pick, self.where(can_be_stopped))
        self.do(cancel_run, self.row(talk).pk)
        self.stop(talk, "stopped")

    @precondition(lambda self: self.where(can_retry))
    @rule(pick=PICK)
    def retry(self, pick: int) -> None:
        talk = chosen(pick, self.where(can_retry))
        if self.last_end(talk) == "completed":
            with pytest.raises(NothingToRetry):
                self.do(retry_run, talk.thread)
            return
        self.do(retry_run, talk.thread)
        talk.active = Answering(talk.said[-1], due=self.house.clock.now() + WORKING)

    @precondition(lambda self: self.where(has_a_message_in_line))
    @rule(pick=PICK)
    def withdraw(self, pick: int) -> None:
        talk = chosen(pick, self.where(has_a_message_in_line))
        one = chosen(pick, [one for one in talk.waiting if not one.run])
        talk.waiting.remove(one)
        with self.company.scope():
            message = Message.objects.get(client_id=one.text)
        self.do(delete_queued_message, message.pk)

    @precondition(lambda self: self.where(lambda talk: not talk.deleted))
    @rule(pick=PICK)
    def delete(self, pick: int) -> None:
        talk = chosen(pick, self.where(lambda talk: not talk.deleted))
        self.do(delete_thread, talk.thread)
        talk.deleted = True
        if talk.active is not None:
            self.stop(talk, "thread_deleted")
        self.clients.pop(talk.thread, None)

    @precondition(lambda self: self.where(lambda talk: talk.deleted))
    @rule(pick=PICK)
    def restore(self, pick: int) -> None:
        talk = chosen(pick, self.where(lambda talk: talk.deleted))
        with self.company.scope():
            type(self.company.threads["alice"]).objects.filter(pk=talk.thread).update(
                deleted_at=self.house.clock.now()
            )
        self.do(restore_thread, talk.thread)
        talk.deleted = False
        if talk.active is None and talk.waiting:
            self.begin(talk, talk.waiting.pop(0).text)

    @precondition(lambda self: self.where(in_phase("approval")))
    @rule(pick=PICK, decision=st.sampled_from(["approve", "decline"]))
    def decide(self, pick: int, decision: str) -> None:
        talk = chosen(pick, self.where(in_phase("approval")))
        call = self.pending(talk)
        self.do(
            decide_call,
            call.run_id,
            call.pk,
            decision=decision,
            arguments_hash=call.arguments_hash,
        )
        if decision == "approve":
            self.approved.append(call.pk)
        self.goes_on(talk, anew=True)

    @precondition(lambda self: self.where(in_phase("output")))
    @rule(pick=PICK)
    def submit(self, pick: int) -> None:
        talk = chosen(pick, self.where(in_phase("output")))
        call = self.pending(talk)
        self.do(submit_tool_outputs, call.run_id, {call.pk: "done"})
        self.goes_on(talk, anew=False)

    def pending(self, talk: Talk) -> ToolCall:
        run = self.row(talk)
        with self.company.scope():
            found: ToolCall = ToolCall.objects.get(run=run, status__in=PENDING)
            return found

    # The model

    @precondition(lambda self: self.where(lambda talk: talk.is_asked))
    @rule(pick=PICK, words=st.text("aé👩\u200d ", min_size=1, max_size=8), read=st.booleans())
    def speak(self, pick: int, words: str, read: bool) -> None:
        talk = chosen(pick, self.where(lambda talk: talk.is_asked))
        assert talk.active is not None
        self.house.say(talk.active.text, TextDelta(words))
        talk.active.words += words
        if read and can_be_read(talk):
            self.follow(talk)

    @precondition(lambda self: self.where(lambda talk: talk.is_asked))
    @rule(pick=PICK, reason=st.sampled_from(["stop", "stop", "length", "content_filter"]))
    def finish(self, pick: int, reason: str) -> None:
        talk = chosen(pick, self.where(lambda talk: talk.is_asked))
        run = talk.active
        assert run is not None
        ending = (UsageReported(3, 5), Finished(reason))  # type: ignore[arg-type]
        if reason == "stop" and not run.words:
            self.house.say(run.text, TextDelta("Yes."), *ending)
            run.words = "Yes."
        else:
            self.house.say(run.text, *ending)
        cut = {"length": "max_completion_tokens"}.get(reason, reason)
        self.end(talk, "completed" if reason == "stop" else "incomplete", cut.replace("stop", ""))

    @precondition(lambda self: self.where(has_words))
    @rule(pick=PICK)
    def break_off(self, pick: int) -> None:
        talk = chosen(pick, self.where(has_words))
        run = talk.active
        assert run is not None
        self.house.fail(run.text, StreamBroken())
        if run.repeats:
            self.end(talk, "failed", "stream_broken")
        else:
            talk.answers.append(("incomplete", run.words))
            run.words, run.repeats = "", 1

    @precondition(lambda self: self.where(lambda talk: talk.is_asked))
    @rule(pick=PICK)
    def refuse(self, pick: int) -> None:
        talk = chosen(pick, self.where(lambda talk: talk.is_asked))
        assert talk.active is not None
        self.house.fail(talk.active.text, UpstreamRefused())
        self.end(talk, "failed", "upstream_refused")

    @precondition(lambda self: self.where(lambda talk: talk.is_asked))
    @rule(pick=PICK, tool=st.sampled_from(["wipe", "look", "own"]))
    def call_a_tool(self, pick: int, tool: str) -> None:
        talk = chosen(pick, self.where(lambda talk: talk.is_asked))
        run = talk.active
        assert run is not None
        self.counter += 1
        self.house.say(
            run.text,
            ToolCallStarted(0, f"call_{self.counter}", tool),
            ToolArgumentsDelta(0, f'{{"number": {self.counter}}}'),
            UsageReported(3, 5),
            Finished("tool_calls"),
        )
        if run.words:
            talk.answers.append(("completed", run.words))
            run.words = ""
        run.phase = {"wipe": "approval", "own": "output"}.get(tool, "asked")
        if tool == "wipe":
            run.due = self.house.clock.now() + APPROVAL

    # Processes and time

    @precondition(lambda self: self.where(lambda talk: talk.is_asked))
    @rule(recovers=st.booleans(), wakes=st.booleans())
    def crash(self, recovers: bool, wakes: bool) -> None:
        self.house.crash()
        for talk in self.where(lambda talk: talk.is_asked):
            assert talk.active is not None
            talk.active.lost = True
        for client in self.clients.values():
            client.reader = None
            client.doubtful |= set(client.texts)
        if recovers:
            for talk in self.where(is_lost):
                self._taken_over(talk)
            if wakes:
                self.wake_the_dead()

    @precondition(lambda self: self.where(is_lost))
    @rule(pick=PICK)
    def recover(self, pick: int) -> None:
        self._taken_over(chosen(pick, self.where(is_lost)))

    def _taken_over(self, talk: Talk) -> None:
        run = talk.active
        assert run is not None
        words = self.stored_words(talk)
        self.house.take_over(self.row(talk).pk)
        if run.stopping or talk.deleted:
            self.end(talk, "cancelled", run.stopping or "stopped", words=words)
        elif run.due < self.house.clock.now():
            self.end(talk, "expired", "deadline", words=words)
        elif run.takeovers >= MOST_TAKEOVERS:
            self.end(talk, "failed", "poison", words=words)
        else:
            if words:
                talk.answers.append(("incomplete", words))
            run.lost, run.words, run.repeats = False, "", 0
            run.takeovers += 1

    @precondition(lambda self: self.house.frozen and not self.where(is_lost))
    @rule()
    def wake(self) -> None:
        self.wake_the_dead()

    def wake_the_dead(self) -> None:
        """Let processes go on that lost all their runs: they write nothing."""
        self.house.wake(TextDelta("Late."), UsageReported(7, 7), Finished("stop"))

    @precondition(lambda self: self.where(lambda talk: talk.active is not None))
    @rule(minutes=st.sampled_from([1, 5, 11, 24 * 60 + 1]))
    def pass_time(self, minutes: int) -> None:
        before = [(talk, talk.active) for talk in self.talks if talk.active is not None]
        self.house.pass_time(timedelta(minutes=minutes))
        for talk, run in before:
            if run.due >= self.house.clock.now():
                continue
            if run.lost:
                self._taken_over(talk)
            elif run.phase == "asked":
                self.end(talk, "expired", "deadline")
            else:
                self.house.take_over(self.row(talk).pk)
                why = "approval_expired" if run.phase == "approval" else "deadline"
                self.end(talk, "expired", why)

    # Readers

    @precondition(lambda self: self.where(can_be_read))
    @rule(pick=PICK)
    def connect(self, pick: int) -> None:
        self.follow(chosen(pick, self.where(can_be_read)))

    def follow(self, talk: Talk) -> None:
        """Read a thread on from where its client is, whether or not it was connected."""
        client = self.clients.setdefault(talk.thread, Client())
        if client.reader is not None:
            client.read()
            client.reader.close()
        at = client.cursor()
        stored, reader = self.house.call(follow(self.principal, talk.thread, cursor=at))
        client.reader = reader
        if stored.active_run is not None:
            client.statuses[stored.active_run["id"]] = stored.active_run["status"]

    @precondition(lambda self: self.clients)
    @rule(pick=PICK)
    def disconnect(self, pick: int) -> None:
        client = chosen(pick, list(self.clients.values()))
        if client.reader is not None:
            client.read()
            client.reader.close()
            client.reader = None

    # What holds after each

    @invariant()
    def check(self) -> None:
        threads = [talk.thread for talk in self.talks]
        with self.company.scope():
            messages = list(Message.objects.filter(thread_id__in=threads).order_by("position"))
            waiting = list(Message.objects.queued().filter(thread_id__in=threads))
            runs = list(Run.objects.filter(thread_id__in=threads).order_by("created_at"))
            ended = [run.pk for run in runs if run.status not in ACTIVE]
            assert not RunStep.objects.filter(run_id__in=ended, ended_at=None).exists()
            assert not ToolCall.objects.filter(run_id__in=ended, ended_at=None).exists()
        for talk in self.talks:
            own = [m for m in messages if m.thread_id == talk.thread and m.position is not None]
            check_messages(talk, own)
            texts = [m.text() for m in waiting if m.thread_id == talk.thread]
            assert texts == [one.text for one in talk.waiting if not one.run]
            check_runs(talk, [run for run in runs if run.thread_id == talk.thread])
        assert sorted(self.house.executed) == sorted(self.approved)
        for thread, client in self.clients.items():
            if client.reader is not None:
                client.read()
                own = [m for m in messages if m.thread_id == thread]
                check_client(client, own, [run for run in runs if run.thread_id == thread])


def check_messages(talk: Talk, rows: list[Message]) -> None:
    assert [m.position for m in rows] == list(range(1, len(rows) + 1))
    assert [m.text() for m in rows if m.role == "user"] == talk.said
    told = [(m.status, m.text()) for m in rows if m.role == "assistant"]
    assert [one for one in told if one[0] != "in_progress"] == talk.answers


def check_runs(talk: Talk, rows: list[Run]) -> None:
    ends = [(run.status, run.reason) for run in rows if run.status not in ACTIVE]
    assert sorted(ends) == sorted(talk.ends)
    assert [run.pk for run in rows if run.waiting] == [one.run for one in talk.waiting if one.run]
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
    return any(one.run for one in talk.waiting) and not talk.deleted


def has_a_message_in_line(talk: Talk) -> bool:
    return any(not one.run for one in talk.waiting) and not talk.deleted


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


SHORT = settings(
    max_examples=12,
    stateful_step_count=25,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
LONG = settings(
    SHORT,
    max_examples=300,
    stateful_step_count=60,
    derandomize=False,
    phases=[Phase.generate, Phase.shrink],
)


@pytest.mark.slow
def test_any_order_of_events_ends_as_it_should(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {
        **QUIET,
        "MAX_ROUNDS": 1000,
        "MAX_TOOL_CALLS": 1000,
        "PARTIAL_SECONDS": 0,
    }
    upstream = {"BACKEND": "", "MODEL": "test-model"}
    changes["UPSTREAMS"] = {**django_settings.CHAT["UPSTREAMS"], NAME: upstream}
    for name, value in changes.items():
        monkeypatch.setitem(django_settings.CHAT, name, value)
    long = os.environ.get("HYPOTHESIS_PROFILE") == "long"
    machine: Any = partial(Machine, world.acme, monkeypatch)
    run_state_machine_as_test(machine, settings=LONG if long else SHORT)
