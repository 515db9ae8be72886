"""In-memory state of a run during its execution."""

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
from chat.runs.citations.markers import Annotation, CitationMarks, MessageCitations
from chat.runs.endings import OutputLimit
from chat.runs.prompt.history import History
from chat.runs.state.claims import Claim
from chat.upstream.base import UsageReported
from tenants import clock

if TYPE_CHECKING:
    from chat.runs.delivery.hub import LiveRun

Event = tuple[str, dict[str, Any]]
# Number of consecutive rounds that contain a call, by name and hash of its arguments.
SameCalls = Counter[tuple[str, str]]

# Margin for the events after a stored state number, so that the stored number never falls behind
# the last published one.
STATE_MARGIN = 10


@dataclass(frozen=True, kw_only=True)
class ClaimedRun:
    """A claimed run to be executed, with the events to publish first.

    `run` is the row that was just inserted, None if it must be read.
    """

    claim: Claim
    thread_id: str
    state: int
    seconds_left: float
    announce: tuple[Event, ...] = ()
    run: Run | None = None


@dataclass(kw_only=True)
class Draft:
    """Assistant message that is being written, and its step.

    `stored` is True once their rows exist, `grown` if the text has grown since the last snapshot.
    That was taken at `saved_at` (initially when the draft began), in seconds of time.monotonic.
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
        """Return a draft at this position of the thread and index of the run."""
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
            # Derived from the message id, so the end of the step can be sent to readers who only
            # know the message.
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
        """Index of the text in the message's content."""
        return len(self.made.pictures)

    @property
    def text(self) -> str:
        """Text written so far."""
        self.pieces = ["".join(self.pieces)] if self.pieces else []
        return self.pieces[0] if self.pieces else ""

    def write(self, text: str) -> None:
        """Append `text` to the draft."""
        self.pieces.append(text)
        self.grown = True

    def take_snapshot(self) -> list[dict[str, Any]]:
        """Return the current content, and reset `grown` and `saved_at`."""
        self.update_content()
        self.grown, self.saved_at = False, monotonic()
        content: list[dict[str, Any]] = self.message.content
        return content

    def close(self, now: datetime, *, message_reason: str, step_status: StepStatus) -> None:
        """Close message and step; without a `message_reason` the message is complete."""
        self.update_content()
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

    def update_content(self) -> None:
        """Set the message's content: images, then the text and refusal written so far."""
        content = [wire.image_part(file_id) for file_id in self.made.pictures]
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
    """Execution of a run by this process."""

    claim: Claim
    live: LiveRun
    run: Run
    labels: dict[str, str]
    deadline: float
    next_position: int
    next_index: int
    draft: Draft | None = None
    open_step: RunStep | None = None
    unsaved_usage: list[ModelCallUsage] = field(default_factory=list)
    rounds: int = 0
    calls_made: int = 0
    same_calls: SameCalls = field(default_factory=Counter)
    repeats: int = 0
    # Description of the last request for the trace: sizes and names, never text.
    sent: dict[str, Any] = field(default_factory=dict)
    usage: UsageReported | None = None
    # The model call in progress, and its output limit.
    meter: CallMeter | None = None
    output_limit: OutputLimit | None = None
    # The server-side conversation and the last position that it contains.
    conversation: str | None = None
    synced_through: int | None = None
    # The calls of the open tool step, and the calls whose outputs the model has not received.
    step_calls: list[ToolCall] = field(default_factory=list)
    answered: list[ToolCall] = field(default_factory=list)
    # Loaded for the first round in this process.
    history: History | None = None
    # Files and images created by code since the last complete message.
    made: Artifacts = field(default_factory=Artifacts)
    # The autosave in progress, and whether one found that another process took over.
    autosave_task: asyncio.Task[None] | None = None
    lapsed: bool = False
    marks: CitationMarks = field(init=False)

    def __post_init__(self) -> None:
        self.marks = CitationMarks(tenant_id=self.claim.tenant_id, thread_id=self.run.thread_id)

    @property
    def state_to_store(self) -> int:
        """State number to store with the next write."""
        return self.live.state + STATE_MARGIN

    def open_draft(self) -> Draft:
        """Return the draft; create and announce it on first use."""
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

    def build_tool_step(self) -> RunStep:
        """Return an unsaved step for the tool calls proposed by the model."""
        step = RunStep(
            run=self.run,
            index=self.next_index,
            type="tool_calls",
            sent=self.sent,
            created_at=clock.now(),
        )
        self.record_tokens(step)
        self.next_index += 1
        return step

    def record_call(self, outcome: str = UsageOutcome.USED, *, is_whole: bool = False) -> None:
        """Record the usage of the model call in progress, once; do nothing if there is none."""
        if self.meter is not None:
            call_usage, self.meter = self.meter.measure_usage(outcome, is_whole=is_whole), None
            self.unsaved_usage.append(call_usage)
            self.usage = call_usage.usage

    def record_interrupted_call(self, status: RunStatus | None) -> None:
        """Record the usage of a model call interrupted by the end of its run.

        `status` is the run's final status, None if another process continues it.
        """
        if status is None:
            self.record_call(UsageOutcome.TAKEN_OVER)
        else:
            expired = status == RunStatus.EXPIRED
            self.record_call(UsageOutcome.EXPIRED if expired else UsageOutcome.CANCELLED)

    def record_failed_attempt(self, spent: ModelCallUsage) -> None:
        """Record the usage of a failed attempt; no call is in progress afterwards."""
        self.meter = None
        self.unsaved_usage.append(spent)

    def record_tokens(self, step: RunStep) -> None:
        """Store the token usage of the last model call on its step, once."""
        if self.usage is not None:
            step.prompt_tokens = self.usage.input_tokens
            step.completion_tokens = self.usage.output_tokens
            self.usage = None

    def _announce(self, draft: Draft) -> None:
        step = wire.step_object(draft.step, run=self.run)
        self.live.publish("thread.run.step.created", step)
        self.live.publish("thread.run.step.in_progress", step)
        images = [wire.image_part(file_id) for file_id in draft.made.pictures]
        message = {**wire.message_object(draft.message), "content": images}
        self.live.publish("thread.message.created", message)
        self.live.publish("thread.message.in_progress", message)

    def publish_closed(self, draft: Draft) -> None:
        """Publish that the draft is closed and stored."""
        message = wire.message_object(draft.message)
        self.live.publish(f"thread.message.{draft.message.status}", message)
        step = wire.step_object(draft.step, run=self.run)
        self.live.publish(f"thread.run.step.{draft.step.status}", step)
