"""What the state machine plays on: one member's threads, a stepped worker, and readers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.utils import timezone
from hypothesis.stateful import RuleBasedStateMachine, invariant

from chat.actions.send_message import create_message
from chat.models import Message, Run, RunStep, ToolCall
from chat.models.runs import ACTIVE_STATUSES
from chat.runs.engine.subscribe import follow
from chat.tools.registry import TOOLS
from chat.upstream.base import AnswerEnd, TextDelta, UsageReported
from tenants.db import in_db
from tests.chat.expected import Client, Talk, check_client, check_messages, check_runs
from tests.chat.stepped import NAME, House
from tests.model_server import make_assistant
from tests.world import Company

MAX_TAKEOVERS = 3
TOOL_LIST = [
    {"type": "function", "function": {"name": "wipe"}},
    {"type": "function", "function": {"name": "look"}},
    {"type": "function", "function": {"name": "own", "parameters": {"type": "object"}}},
]


class Stage(RuleBasedStateMachine):
    """What the rules of the state machine share, and what holds after each of them."""

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
        monkeypatch.setitem(settings.CHAT, "RUNS_PER_MINUTE", 1_000_000)
        # Fields keep the function they were declared with.
        sent_at = Message._meta.get_field("created_at")
        monkeypatch.setitem(sent_at.__dict__, "_get_default", self.house.clock.now)
        self.assistant = make_assistant(company, upstream=NAME, tools=TOOL_LIST)
        self.house.open()

    def teardown(self) -> None:
        try:
            for talk in self.talks:
                if talk.active is not None and talk.active.lost:
                    self.taken_over(talk)
            self.check()
        finally:
            self.house.close()
            self.patch.setattr(timezone, "now", self.house.clock.real)
            with self.company.scope():
                Run.objects.active().update(status="cancelled", reason="stopped")

    def do(self, action: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.house.call(in_db(action, self.principal, *args, **kwargs))

    def now(self) -> datetime:
        return self.house.clock.now()

    def where(self, wanted: Callable[[Talk], bool]) -> list[Talk]:
        return [talk for talk in self.talks if wanted(talk)]

    def next_text(self) -> str:
        self.counter += 1
        return f"message {self.counter} of {id(self)}"

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

    def open_a_thread(self) -> None:
        text = self.next_text()
        sent = self.do(
            create_message, None, assistant_id=self.assistant, content=text, client_id=str(uuid4())
        )
        talk = Talk(sent.thread.pk)
        self.talks.append(talk)
        talk.begin(text, self.now())

    def taken_over(self, talk: Talk) -> None:
        run = talk.active
        assert run is not None
        words = self.stored_words(talk)
        self.house.take_over(self.row(talk).pk)
        if run.stopping or talk.deleted:
            talk.end("cancelled", run.stopping or "stopped", now=self.now(), words=words)
        elif run.due < self.now():
            talk.end("expired", "deadline", now=self.now(), words=words)
        elif run.takeovers >= MAX_TAKEOVERS:
            talk.end("failed", "poison", now=self.now(), words=words)
        else:
            if words:
                talk.answers.append(("incomplete", words))
            run.lost, run.words, run.repeats = False, "", 0
            run.takeovers += 1

    def wake_the_dead(self) -> None:
        """Let processes go on that lost all their runs: they write nothing."""
        self.house.wake(TextDelta("Late."), UsageReported(7, 7), AnswerEnd("stop"))

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

    @invariant()
    def check(self) -> None:
        threads = [talk.thread for talk in self.talks]
        with self.company.scope():
            messages = list(Message.objects.filter(thread_id__in=threads).order_by("position"))
            waiting = list(Message.objects.queued().filter(thread_id__in=threads))
            runs = list(Run.objects.filter(thread_id__in=threads).order_by("created_at"))
            ended = [run.pk for run in runs if run.status not in ACTIVE_STATUSES]
            assert not RunStep.objects.filter(run_id__in=ended, ended_at=None).exists()
            assert not ToolCall.objects.filter(run_id__in=ended, ended_at=None).exists()
        for talk in self.talks:
            own = [m for m in messages if m.thread_id == talk.thread and m.position is not None]
            check_messages(talk, own)
            texts = [m.text() for m in waiting if m.thread_id == talk.thread]
            assert texts == [item.text for item in talk.waiting if not item.run]
            check_runs(talk, [run for run in runs if run.thread_id == talk.thread])
        assert sorted(self.house.executed) == sorted(self.approved)
        for thread, client in self.clients.items():
            if client.reader is not None:
                client.read()
                own = [m for m in messages if m.thread_id == thread]
                check_client(client, own, [run for run in runs if run.thread_id == thread])
