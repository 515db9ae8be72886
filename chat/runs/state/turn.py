"""What the loop holds of one run while it executes it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from chat import wire
from chat.models import (
    Assistant,
    Message,
    MessageStatus,
    Run,
    RunStatus,
    RunStep,
    StepStatus,
    ToolCall,
    UsageOutcome,
)
from chat.runs.billing.metering import CallMeter, ModelCallUsage
from chat.runs.citations.artifacts import Artifacts
from chat.runs.citations.markers import Annotation, Marks, MessageCitations
from chat.runs.endings import OutputLimit
from chat.runs.prompt.history import History
from chat.runs.state.claims import Claim
from chat.upstream.base import UsageReported
from tenants import clock

if TYPE_CHECKING:
    from chat.runs.delivery.hub import LiveRun

Event = tuple[str, dict[str, Any]]
# Name and hash of the arguments of a call, and in how many rounds in a row it was made.
SameCalls = Counter[tuple[str, str]]

# Room for the events that follow a stored state number, so that it never falls
# behind what a reader was told.
STATE_MARGIN = 10


@dataclass(frozen=True, kw_only=True)
class ClaimedRun:
    """A claimed run on its way to the loop, with what its readers are told first.

    `run` is the row as it was just inserted, None where it has to be read.
    """

    claim: Claim
    thread_id: str
    state: int
    seconds_left: float
    announce: tuple[Event, ...] = ()
    run: Run | None = None


@dataclass(kw_only=True)
class Draft:
    """The assistant message that is being written, and its step.

    `stored` tells that their rows exist, `grown` that the text went on since the last copy, which
    was taken at `saved_at` (at first: when the draft began), in seconds of time.monotonic.
    """

    message: Message
    step: RunStep
    made: Artifacts = field(default_factory=Artifacts)
    pieces: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    cited: MessageCitations = field(default_factory=MessageCitations)
    links: list[Annotation] = field(default_factory=list)
    stored: bool = False
    grown: bool = False
    saved_at: float = field(default_factory=monotonic)

    @classmethod
    def begin(
        cls, run: Run, assistant: Assistant | None, *, position: int, index: int, made: Artifacts
    ) -> Draft:
        """Return a draft at that place of the thread and of the run, with what code `made`."""
        now = clock.now()
        message = Message(
            tenant_id=run.tenant_id,
            thread_id=run.thread_id,
            assistant=assistant,
            run_ref=run.pk,
            role="assistant",
            status=MessageStatus.IN_PROGRESS,
            position=position,
            created_at=now,
        )
        step = RunStep(
            # Who was told of the message alone can be told of the end of its step as well.
            id=f"step_{message.id.removeprefix('msg_')}",
            tenant_id=run.tenant_id,
            run=run,
            message=message,
            index=index,
            type="message_creation",
            created_at=now,
        )
        return cls(message=message, step=step, made=made)

    @property
    def text_part(self) -> int:
        """The place of the text among the message's contents."""
        return len(self.made.pictures)

    @property
    def text(self) -> str:
        """What was written so far."""
        self.pieces = ["".join(self.pieces)] if self.pieces else []
        return self.pieces[0] if self.pieces else ""

    def write(self, text: str) -> None:
        """Go on with `text`."""
        self.pieces.append(text)
        self.grown = True

    def take_copy(self) -> list[dict[str, Any]]:
        """Return the content as it is now."""
        self.fill()
        self.grown, self.saved_at = False, monotonic()
        content: list[dict[str, Any]] = self.message.content
        return content

    def settle(self, now: datetime, *, message_reason: str, step_status: StepStatus) -> None:
        """Close message and step; an empty reason means complete."""
        self.fill()
        self.message.attachments = self.made.list_unlinked(self.links)
        self.message.incomplete_reason = message_reason
        if message_reason:
            self.message.status = MessageStatus.INCOMPLETE
            self.message.incomplete_at = now
        else:
            self.message.status = MessageStatus.COMPLETED
            self.message.completed_at = now
        self.step.status = step_status
        self.step.ended_at = now

    def fill(self) -> None:
        """Put what was written so far into the message's content, after the pictures."""
        content = [wire.picture_part(file_id) for file_id in self.made.pictures]
        if self.pieces or not self.refusal:
            annotations = sorted(
                [*self.cited.annotations, *self.links], key=lambda one: one["start_index"]
            )
            content.append(wire.text_part(self.text, annotations))
        if self.refusal:
            content.append({"type": "refusal", "refusal": "".join(self.refusal)})
        self.message.content = content


@dataclass(kw_only=True)
class Turn:
    """One execution of a run by this process."""

    claim: Claim
    live: LiveRun
    run: Run
    labels: dict[str, str]
    deadline: float
    next_position: int
    next_index: int
    draft: Draft | None = None
    open_step: RunStep | None = None
    spent: list[ModelCallUsage] = field(default_factory=list)
    rounds: int = 0
    calls_made: int = 0
    same_calls: SameCalls = field(default_factory=Counter)
    repeats: int = 0
    # What the last request held, for the trace: sizes and names, never text.
    sent: dict[str, Any] = field(default_factory=dict)
    usage: UsageReported | None = None
    # The model call under way, and what bounds it.
    meter: CallMeter | None = None
    output_limit: OutputLimit | None = None
    # A server-kept conversation and the last position it knows.
    conversation: str | None = None
    synced_through: int | None = None
    # The calls of the open tool step, and those whose outputs the model has not seen.
    step_calls: list[ToolCall] = field(default_factory=list)
    answered: list[ToolCall] = field(default_factory=list)
    # Read for the first round here.
    history: History | None = None
    # What code made since the last whole message.
    made: Artifacts = field(default_factory=Artifacts)
    # The partial copy under way, and whether one found that another process took over.
    saving: asyncio.Task[None] | None = None
    lapsed: bool = False
    marks: Marks = field(init=False)

    def __post_init__(self) -> None:
        self.marks = Marks(tenant_id=self.claim.tenant_id, thread_id=self.run.thread_id)

    @property
    def state_to_store(self) -> int:
        """The state number to write along with what is stored now."""
        return self.live.state + STATE_MARGIN

    def open_draft(self) -> Draft:
        """Return the draft, begun and announced on first use."""
        if self.draft is None:
            self.draft = Draft.begin(
                self.run,
                self.run.assistant,
                position=self.next_position,
                index=self.next_index,
                made=self.made,
            )
            self.draft.step.sent = self.sent
            self.next_position += 1
            self.next_index += 1
            self._announce(self.draft)
        return self.draft

    def new_tool_step(self) -> RunStep:
        """Return the step of the calls that the model asked for; it is not stored yet."""
        step = RunStep(
            run=self.run,
            index=self.next_index,
            type="tool_calls",
            sent=self.sent,
            created_at=clock.now(),
        )
        self.count_tokens(step)
        self.next_index += 1
        return step

    def record_call(self, outcome: str = UsageOutcome.USED, *, is_whole: bool = False) -> None:
        """Note what the model call under way used, once; nothing where none is."""
        if self.meter is not None:
            spent, self.meter = self.meter.measure_usage(outcome, is_whole=is_whole), None
            self.spent.append(spent)
            self.usage = spent.usage

    def record_interrupted_call(self, status: RunStatus | None) -> None:
        """Note what a call used that was cut short because its run ends with `status`.

        None means that another process continues the run.
        """
        if status is None:
            self.record_call(UsageOutcome.TAKEN_OVER)
        else:
            expired = status == RunStatus.EXPIRED
            self.record_call(UsageOutcome.EXPIRED if expired else UsageOutcome.CANCELLED)

    def record_failed_attempt(self, spent: ModelCallUsage) -> None:
        """Note what a failed attempt of a model call used: no call is under way any more."""
        self.meter = None
        self.spent.append(spent)

    def count_tokens(self, step: RunStep) -> None:
        """Note on a step what its model request used, once."""
        if self.usage is not None:
            step.prompt_tokens = self.usage.input_tokens
            step.completion_tokens = self.usage.output_tokens
            self.usage = None

    def _announce(self, draft: Draft) -> None:
        step = wire.step_object(draft.step, run=self.run)
        self.live.publish("thread.run.step.created", step)
        self.live.publish("thread.run.step.in_progress", step)
        shown = [wire.picture_part(file_id) for file_id in draft.made.pictures]
        message = {**wire.message_object(draft.message), "content": shown}
        self.live.publish("thread.message.created", message)
        self.live.publish("thread.message.in_progress", message)

    def publish_settled(self, draft: Draft) -> None:
        """Tell readers that the draft is closed and stored."""
        message = wire.message_object(draft.message)
        self.live.publish(f"thread.message.{draft.message.status}", message)
        step = wire.step_object(draft.step, run=self.run)
        self.live.publish(f"thread.run.step.{draft.step.status}", step)
