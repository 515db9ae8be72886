"""Whatever people, models, crashes and time do in any order, the rows are what a small model says.

`HYPOTHESIS_PROFILE=long` tries many more orders.
"""

from __future__ import annotations

import os
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.conf import settings as django_settings
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chat.actions.runs.approvals import decide_call
from chat.actions.runs.create import create_run
from chat.actions.runs.manage import cancel_run, retry_run
from chat.actions.runs.tool_outputs import submit_tool_outputs
from chat.actions.send_message import create_message, delete_queued_message
from chat.actions.threads import delete_thread, restore_thread
from chat.errors import NothingToRetry, ThreadBusy
from chat.models import Message, ToolCall
from chat.models.runs import PENDING_STATUSES
from chat.upstream.base import (
    AnswerEnd,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
    UsageReported,
)
from chat.upstream.errors import StreamBroken, UpstreamRefused
from tests.chat.at_work import QUIET
from tests.chat.expected import (
    APPROVAL,
    WORKING,
    Answering,
    InLine,
    Talk,
    can_be_read,
    can_be_stopped,
    can_retry,
    chosen,
    has_a_message_in_line,
    has_a_run_in_line,
    has_words,
    in_phase,
    is_lost,
)
from tests.chat.stage import Stage
from tests.chat.stepped import NAME
from tests.world import World

PICK = st.integers(min_value=0, max_value=50)


class Machine(Stage):
    """Rules say what is done and what should come of it."""

    # People

    @initialize()
    def begin_with_a_thread(self) -> None:
        self.open_a_thread()

    @precondition(lambda self: len(self.talks) < 4)
    @rule()
    def another_thread(self) -> None:
        self.open_a_thread()

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
            content=text,
            client_id=text,
            busy=busy,
        )
        if busy == "reject" and talk.active is not None:
            with pytest.raises(ThreadBusy):
                send()
            return
        first = send()
        if talk.active is None:
            talk.begin(text, self.now())
        else:
            talk.wait(InLine(text), busy, now=self.now())
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
            talk.begin(text, self.now())
        else:
            talk.wait(InLine(text, run.pk), busy, now=self.now())

    @precondition(lambda self: self.where(has_a_run_in_line))
    @rule(pick=PICK)
    def cancel_in_line(self, pick: int) -> None:
        talk = chosen(pick, self.where(has_a_run_in_line))
        one = next(item for item in talk.waiting if item.run)
        self.do(cancel_run, one.run)
        talk.waiting.remove(one)
        talk.ends.append(("cancelled", "stopped"))

    @precondition(lambda self: self.where(can_be_stopped))
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        talk = chosen(pick, self.where(can_be_stopped))
        self.do(cancel_run, self.row(talk).pk)
        talk.stop("stopped", self.now())

    @precondition(lambda self: self.where(can_retry))
    @rule(pick=PICK)
    def retry(self, pick: int) -> None:
        talk = chosen(pick, self.where(can_retry))
        if self.last_end(talk) == "completed":
            with pytest.raises(NothingToRetry):
                self.do(retry_run, talk.thread)
            return
        self.do(retry_run, talk.thread)
        talk.active = Answering(talk.said[-1], due=self.now() + WORKING)

    @precondition(lambda self: self.where(has_a_message_in_line))
    @rule(pick=PICK)
    def withdraw(self, pick: int) -> None:
        talk = chosen(pick, self.where(has_a_message_in_line))
        one = chosen(pick, [item for item in talk.waiting if not item.run])
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
            talk.stop("thread_deleted", self.now())
        self.clients.pop(talk.thread, None)

    @precondition(lambda self: self.where(lambda talk: talk.deleted))
    @rule(pick=PICK)
    def restore(self, pick: int) -> None:
        talk = chosen(pick, self.where(lambda talk: talk.deleted))
        with self.company.scope():
            type(self.company.threads["alice"]).objects.filter(pk=talk.thread).update(
                deleted_at=self.now()
            )
        self.do(restore_thread, talk.thread)
        talk.deleted = False
        if talk.active is None and talk.waiting:
            talk.begin(talk.waiting.pop(0).text, self.now())

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
        talk.goes_on(self.now(), anew=True)

    @precondition(lambda self: self.where(in_phase("output")))
    @rule(pick=PICK)
    def submit(self, pick: int) -> None:
        talk = chosen(pick, self.where(in_phase("output")))
        call = self.pending(talk)
        self.do(submit_tool_outputs, call.run_id, {call.pk: "done"})
        talk.goes_on(self.now(), anew=False)

    def pending(self, talk: Talk) -> ToolCall:
        run = self.row(talk)
        with self.company.scope():
            found: ToolCall = ToolCall.objects.get(run=run, status__in=PENDING_STATUSES)
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
        ending = (UsageReported(3, 5), AnswerEnd(reason))  # type: ignore[arg-type]
        if reason == "stop" and not run.words:
            self.house.say(run.text, TextDelta("Yes."), *ending)
            run.words = "Yes."
        else:
            self.house.say(run.text, *ending)
        cut = {"length": "max_completion_tokens"}.get(reason, reason)
        talk.end(
            "completed" if reason == "stop" else "incomplete",
            cut.replace("stop", ""),
            now=self.now(),
        )

    @precondition(lambda self: self.where(has_words))
    @rule(pick=PICK)
    def break_off(self, pick: int) -> None:
        talk = chosen(pick, self.where(has_words))
        run = talk.active
        assert run is not None
        self.house.fail(run.text, StreamBroken())
        if run.repeats:
            talk.end("failed", "stream_broken", now=self.now())
        else:
            talk.answers.append(("incomplete", run.words))
            run.words, run.repeats = "", 1

    @precondition(lambda self: self.where(lambda talk: talk.is_asked))
    @rule(pick=PICK)
    def refuse(self, pick: int) -> None:
        talk = chosen(pick, self.where(lambda talk: talk.is_asked))
        assert talk.active is not None
        self.house.fail(talk.active.text, UpstreamRefused())
        talk.end("failed", "upstream_refused", now=self.now())

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
            AnswerEnd("tool_calls"),
        )
        if run.words:
            talk.answers.append(("completed", run.words))
            run.words = ""
        run.phase = {"wipe": "approval", "own": "output"}.get(tool, "asked")
        if tool == "wipe":
            run.due = self.now() + APPROVAL

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
                self.taken_over(talk)
            if wakes:
                self.wake_the_dead()

    @precondition(lambda self: self.where(is_lost))
    @rule(pick=PICK)
    def recover(self, pick: int) -> None:
        self.taken_over(chosen(pick, self.where(is_lost)))

    @precondition(lambda self: self.house.frozen and not self.where(is_lost))
    @rule()
    def wake(self) -> None:
        self.wake_the_dead()

    @precondition(lambda self: self.where(lambda talk: talk.active is not None))
    @rule(minutes=st.sampled_from([1, 5, 11, 24 * 60 + 1]))
    def pass_time(self, minutes: int) -> None:
        before = [(talk, talk.active) for talk in self.talks if talk.active is not None]
        self.house.pass_time(timedelta(minutes=minutes))
        for talk, run in before:
            if run.due >= self.now():
                continue
            if run.lost:
                self.taken_over(talk)
            elif run.phase == "asked":
                talk.end("expired", "deadline", now=self.now())
            else:
                self.house.take_over(self.row(talk).pk)
                why = "approval_expired" if run.phase == "approval" else "deadline"
                talk.end("expired", why, now=self.now())

    # Readers

    @precondition(lambda self: self.where(can_be_read))
    @rule(pick=PICK)
    def connect(self, pick: int) -> None:
        self.follow(chosen(pick, self.where(can_be_read)))

    @precondition(lambda self: self.clients)
    @rule(pick=PICK)
    def disconnect(self, pick: int) -> None:
        client = chosen(pick, list(self.clients.values()))
        if client.reader is not None:
            client.read()
            client.reader.close()
            client.reader = None

    # What holds after each


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
