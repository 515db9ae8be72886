"""One model step: stream the answer to the readers and autosave it.

No transaction or connection is held while the model server answers, and no token causes a
database write: unfinished text is stored about once a second.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import structlog

from chat.conf import conf
from chat.models import MessageStatus
from chat.runs import upstreams
from chat.runs.billing.limits import exceeds_budget
from chat.runs.billing.metering import CallMeter
from chat.runs.endings import Ending
from chat.runs.engine.autosave import autosaver, wait_for_autosave
from chat.runs.engine.request import build_request, limit_request
from chat.runs.engine.waiting_runs import waiting_runs
from chat.runs.state import transactions
from chat.runs.state.claims import ClaimLapsed
from chat.runs.state.transactions import Round
from chat.runs.state.turn import Turn
from chat.tools import dispatch
from chat.tools.file_search import OPEN
from chat.upstream.base import (
    AnswerEnd,
    ModelRequest,
    RefusalDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
    UsageReported,
)
from chat.upstream.errors import ConversationLost, StreamBroken, UpstreamError
from chat.upstream.retry import FailedAttempt, Gate, RetryPolicy, stream_with_retries
from tenants.db import run_uncancelled

log = structlog.get_logger(__name__)


@dataclass(kw_only=True)
class Answer:
    """Result of one model round: proposed tool calls and the end of the answer."""

    calls: dict[int, dispatch.ProposedCall] = field(default_factory=dict)
    arguments: dict[int, list[str]] = field(default_factory=dict)
    finished: AnswerEnd | None = None

    @property
    def is_cut(self) -> bool:
        """True if the server reports that the answer is truncated."""
        return self.finished is not None and self.finished.reason in ("length", "content_filter")

    def list_calls(self) -> list[dispatch.ProposedCall]:
        """Return the calls in order, with complete arguments."""
        return [
            call.with_arguments("".join(self.arguments.get(index, [])))
            for index, call in sorted(self.calls.items())
        ]


async def run_model_step(turn: Turn, plan: Round) -> Answer | Ending | None:
    """Call the model once; None if the step must be repeated, an ending if a limit stops it.

    A stream that breaks after its first content is repeated once as a new step with a new
    message; the broken one is closed and excluded from the prompt.
    """
    try:
        request = limit_request(turn, plan, await build_request(turn, plan))
        if isinstance(request, Ending):
            return request
        return await stream_answer(turn, request)
    except ConversationLost:
        if turn.repeats:
            raise
        turn.repeats += 1
        turn.conversation, turn.synced_through = None, None
        return None
    except UpstreamError as error:
        if not (error.after_first_content and error.retryable) or turn.repeats:
            raise
        turn.repeats += 1
        turn.conversation, turn.synced_through = None, None
        log.info("model_step_repeated", code=error.code)
        await close_interrupted_draft(turn)
        return None


async def close_interrupted_draft(turn: Turn) -> None:
    """Store and close the partial message of a step that will be repeated.

    Raises:
        ClaimLapsed: another process took over.
    """
    if turn.draft is not None and turn.draft.message.status == MessageStatus.IN_PROGRESS:
        draft, turn.draft = turn.draft, None
        await wait_for_autosave(turn)
        await run_uncancelled(transactions.supersede_draft, turn, draft)
        turn.publish_closed(draft)


async def stream_answer(turn: Turn, request: ModelRequest) -> Answer:
    """Stream one answer from the model server to the readers."""
    answer, is_whole = Answer(), True
    upstream = upstreams.get_upstream(turn.run.upstream)
    policy = RetryPolicy(tries=conf.upstream_tries, base=conf.upstream_backoff_seconds)

    def begin_attempt() -> None:
        turn.meter = CallMeter(request=request, prompt_tokens=turn.sent["estimated_tokens"])

    async def note_failure(attempt: FailedAttempt) -> None:
        log.info("upstream_attempt_failed", code=attempt.error.code, number=attempt.number)
        assert turn.meter is not None
        turn.record_failed_attempt(turn.meter.measure_failure(attempt.error))

    stream = stream_with_retries(
        upstream,
        request,
        policy=policy,
        deadline=turn.deadline,
        gate=Gate(
            breaker=upstreams.get_breaker(turn.claim.tenant_id, turn.run.upstream),
            # A chat that is retried again and again counts as one failing caller.
            caller=turn.run.thread_id,
            on_wait=lambda seconds: waiting_runs.update_wait(turn, seconds),
            room=lambda: waiting_runs.wait_for_capacity(turn),
        ),
        on_attempt=begin_attempt,
        on_failed_attempt=note_failure,
    )
    turn.marks.begin()
    with autosaver.of(turn):
        async with aclosing(stream):
            async for events in stream:
                text = process_events(answer, events, turn)
                if OPEN in text or (text and turn.marks.held):
                    text = await resolve_citations(turn, text)
                if text:
                    write_text(turn, text)
                if exceeds_budget(turn):
                    log.info("answer_cut_by_budget")
                    answer.finished, is_whole = AnswerEnd("length"), False
                    break
        rest = turn.marks.flush()
        if rest:
            write_text(turn, rest)
    turn.record_call(is_whole=is_whole)
    if turn.draft is None and not answer.calls and not answer.is_cut:
        raise StreamBroken("The answer was empty.", after_first_content=True)
    turn.answered = []
    return answer


def process_events(answer: Answer, events: list[Any], turn: Turn) -> str:
    """Record the events of one network read and return their joined text."""
    text, meter = "", turn.meter
    assert meter is not None
    for event in events:
        kind = type(event)
        if kind is TextDelta:
            text += event.text
            meter.size += len(event.text.encode())
        elif kind is ToolArgumentsDelta:
            meter.size += len(event.text.encode())
            answer.arguments.setdefault(event.index, []).append(event.text)
        elif kind is ToolCallStarted:
            meter.size += len(event.name)
            answer.calls[event.index] = dispatch.ProposedCall(
                round=turn.rounds,
                index=event.index,
                server_call_id=event.server_call_id,
                name=event.name,
                arguments="",
            )
        elif kind is RefusalDelta:
            meter.size += len(event.text.encode())
            turn.open_draft().refusal.append(event.text)
        elif kind is UsageReported:
            meter.record_report(event)
        elif kind is AnswerEnd:
            answer.finished = event
    return text


async def resolve_citations(turn: Turn, text: str) -> str:
    """Return the part of `text` that can be sent now; the caller must write it immediately.

    Its citations are added to the draft. If this is cancelled, neither text nor citations are
    added.
    """
    draft = turn.open_draft()
    released = await turn.marks.release(text, said=draft.text)
    for passage, annotation in released.citations:
        draft.cited.add(passage, annotation)
    return released.text


def write_text(turn: Turn, text: str) -> None:
    """Append text to the draft and publish it.

    Raises:
        ClaimLapsed: an autosave found that another process took over.
    """
    if turn.lapsed:
        raise ClaimLapsed(turn.run.pk)
    draft = turn.open_draft()
    draft.write(text)
    turn.live.text(draft.message.pk, text, part=draft.text_part)
