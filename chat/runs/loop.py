"""Execute a claimed run: prompt, model, tools, and again, until it ends.

No transaction or connection is held while the model server answers, and no
token causes a database write: partial text is stored about once a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, ParamSpec, TypeVar

import structlog
from django.db import DatabaseError

from chat import wire
from chat.conf import conf
from chat.models import ToolCall
from chat.models.reasons import Reason
from chat.models.runs import CallStatus
from chat.runs import records, upstreams
from chat.runs.live import LiveRun
from chat.runs.turn import COMPLETED, Ending, Spent, Started, Turn, failed, incomplete
from chat.tools import dispatch, registry
from chat.upstream.base import (
    Finished,
    FunctionOutput,
    KeepsConversations,
    ModelRequest,
    RefusalDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
    UsageReported,
)
from chat.upstream.errors import ConversationLost, StreamBroken, UpstreamError
from chat.upstream.retry import FailedAttempt, RetryPolicy, stream_with_retries
from tenants.access import Principal
from tenants.db import in_db

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger(__name__)

UPSTREAM_REASONS = {
    "rate_limited": Reason.UPSTREAM_RATE_LIMITED,
    "unavailable": Reason.UPSTREAM_UNAVAILABLE,
    "timeout": Reason.UPSTREAM_TIMEOUT,
    "breaker_open": Reason.UPSTREAM_UNAVAILABLE,
    "simulated_failure": Reason.UPSTREAM_UNAVAILABLE,
    "refused": Reason.UPSTREAM_REFUSED,
    "authentication_failed": Reason.UPSTREAM_REFUSED,
    "not_found": Reason.UPSTREAM_REFUSED,
    "quota_exceeded": Reason.UPSTREAM_REFUSED,
    "context_too_long": Reason.CONTEXT_TOO_LONG,
    "content_refused": Reason.CONTENT_REFUSED,
    "stream_broken": Reason.STREAM_BROKEN,
}


@dataclass(kw_only=True)
class Answer:
    """What one model round said."""

    calls: dict[int, dispatch.ProposedCall] = field(default_factory=dict)
    arguments: dict[int, list[str]] = field(default_factory=dict)
    usage: UsageReported | None = None
    finished: Finished | None = None

    def proposed(self) -> list[dispatch.ProposedCall]:
        """Return the calls in their order, with their whole arguments."""
        return [
            call.with_arguments("".join(self.arguments.get(index, [])))
            for index, call in sorted(self.calls.items())
        ]


async def begin(started: Started, live: LiveRun) -> Turn:
    """Load a claimed run and tell its readers that it is in progress.

    Raises:
        ClaimLapsed: when another process has it.
    """
    loaded = await in_db(records.load, started.claim)
    run = loaded.run
    turn = Turn(
        claim=started.claim,
        live=live,
        run=run,
        labels=registry.labels(),
        deadline=monotonic() + started.seconds_left,
        next_position=loaded.position,
        next_index=loaded.index,
        open_step=loaded.open_step,
        rounds=run.rounds,
        calls_made=len(loaded.calls),
        conversation=loaded.mapping.external_id if loaded.mapping else None,
    )
    live.publish("thread.run.in_progress", wire.run_object(run))
    if loaded.open_step is not None:
        await resume_calls(turn, [c for c in loaded.calls if c.step_id == loaded.open_step.pk])
    elif loaded.mapping is not None:
        turn.synced_through = loaded.mapping.synced_through
    return turn


async def resume_calls(turn: Turn, calls: list[ToolCall]) -> None:
    """Run what was approved meanwhile, and settle what a dead process left."""
    assert turn.open_step is not None
    turn.conversation = None  # it lacks what happened here: built anew
    principal = await in_db(records.principal_of, turn.claim, turn.run)
    if principal is None:
        return
    context = dispatch.CallContext(principal=principal, run=turn.run, step=turn.open_step)
    publish_step(turn, calls, "in_progress")
    turn.step_calls = await dispatch.resume_all(context, calls)


async def rounds(turn: Turn) -> Ending | None:
    """Run model rounds until the run ends; None when it waits for somebody.

    Raises:
        UpstreamError: when the model server failed for good.
        ClaimLapsed: when another process took over.
    """
    # A process that died while calls ran may have left others that still need somebody.
    if await must_wait(turn):
        return None
    while True:
        plan = await phase(records.begin_round, turn, synced_through=turn.synced_through)
        if isinstance(plan, Ending):
            return plan
        if turn.open_step is not None:
            publish_step(turn, turn.step_calls, "completed")
            turn.open_step, turn.answered, turn.step_calls = None, turn.step_calls, []
        turn.rounds += 1
        turn.run.rounds = turn.rounds
        answer = await model_step(turn, plan)
        if answer is None:
            continue
        proposed = answer.proposed()
        if not proposed:
            return ending_of(answer)
        ending = loop_ending(turn, proposed)
        if ending is not None:
            return ending
        if await tool_step(turn, plan.principal, proposed):
            return None


def ending_of(answer: Answer) -> Ending:
    """Return how a run ends whose last answer calls no tool."""
    reason = answer.finished.reason if answer.finished else "stop"
    if reason == "length":
        return incomplete(Reason.MAX_COMPLETION_TOKENS)
    if reason == "content_filter":
        return incomplete(Reason.CONTENT_FILTER)
    return COMPLETED


def loop_ending(turn: Turn, proposed: list[dispatch.ProposedCall]) -> Ending | None:
    """Return the ending of a run that calls too much or in circles, None to go on."""
    turn.calls_made += len(proposed)
    if turn.calls_made > conf.max_tool_calls:
        return failed(Reason.TOO_MANY_CALLS)
    keys = {f"{call.name}\n{call.arguments}" for call in proposed}
    for key in list(turn.same_calls):
        if key not in keys:
            del turn.same_calls[key]
    turn.same_calls.update(keys)
    if max(turn.same_calls.values(), default=0) >= conf.max_same_calls:
        return failed(Reason.LOOP)
    return None


async def model_step(turn: Turn, plan: records.Round) -> Answer | None:
    """Ask the model once; None when the step has to be repeated.

    A stream that breaks after its first content is repeated once as a new step
    with a new message; the broken one is closed and leaves the prompt.
    """
    try:
        return await stream_answer(turn, await request_for(turn, plan))
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
        if turn.draft is not None:
            draft, turn.draft = turn.draft, None
            await settle_saving(turn)
            await phase(records.supersede_draft, turn, draft)
            turn.publish_settled(draft)
        return None


async def request_for(turn: Turn, plan: records.Round) -> ModelRequest:
    """Return the request of this round; makes the server's conversation where one is kept."""
    run, prompt = turn.run, plan.prompt
    items = prompt.items
    upstream = upstreams.upstream_named(run.upstream)
    if upstreams.keeps_conversations(run.upstream) and isinstance(upstream, KeepsConversations):
        if turn.conversation is None:
            turn.conversation = await upstream.create_conversation()
        elif turn.answered:
            items = tuple(
                FunctionOutput(call_id=call.server_call_id, output=call.output or "")
                for call in turn.answered
            )
        elif turn.synced_through is not None:
            items = prompt.new_items
    names = registry.offered_names(run.tools, dropped=prompt.dropped)
    tools = registry.specs(run.tools, names)
    turn.sent = {
        "round": turn.rounds,
        "model": run.model,
        "items": len(items),
        "estimated_tokens": prompt.tokens,
        "older_left_out": prompt.dropped,
        "tools": [tool.name for tool in tools],
        "conversation": turn.conversation,
    }
    return ModelRequest(
        model=run.model,
        items=items,
        instructions=run.instructions or None,
        tools=tools,
        tool_choice="auto" if run.tool_choice is None else run.tool_choice,
        parallel_tool_calls=run.parallel_tool_calls,
        temperature=run.temperature,
        top_p=run.top_p,
        reasoning_effort=run.reasoning_effort or None,
        response_format=run.response_format,
        max_output_tokens=plan.tokens_left,
        conversation=turn.conversation,
        safety_id=run.member_id.hex,
    )


async def stream_answer(turn: Turn, request: ModelRequest) -> Answer:
    """Relay one answer to the readers as it comes."""
    answer = Answer()
    upstream = upstreams.upstream_named(turn.run.upstream)
    policy = RetryPolicy(tries=conf.upstream_tries, base=conf.upstream_backoff_seconds)

    async def note_failure(attempt: FailedAttempt) -> None:
        log.info("upstream_attempt_failed", code=attempt.error.code, number=attempt.number)
        usage = attempt.usage or UsageReported(0, 0)
        turn.spent.append(Spent(model=request.model, usage=usage, outcome="failed"))

    stream = stream_with_retries(
        upstream,
        request,
        policy=policy,
        deadline=turn.deadline,
        breaker=upstreams.breaker_of(turn.claim.tenant_id, turn.run.upstream),
        on_failed_attempt=note_failure,
    )
    async with aclosing(stream):
        async for events in stream:
            text = take_events(answer, events, turn)
            if text:
                write_text(turn, text)
    if answer.usage is not None:
        turn.spent.append(Spent(model=request.model, usage=answer.usage))
        turn.usage = answer.usage
    if turn.draft is None and not answer.calls:
        raise StreamBroken("The answer was empty.", after_first_content=True)
    turn.answered = []
    return answer


def take_events(answer: Answer, events: list[Any], turn: Turn) -> str:
    """Note the events of one network read and return their text, joined."""
    text = ""
    for event in events:
        kind = type(event)
        if kind is TextDelta:
            text += event.text
        elif kind is ToolArgumentsDelta:
            answer.arguments.setdefault(event.index, []).append(event.text)
        elif kind is ToolCallStarted:
            answer.calls[event.index] = dispatch.ProposedCall(
                round=turn.rounds,
                index=event.index,
                server_call_id=event.server_call_id,
                name=event.name,
                arguments="",
            )
        elif kind is RefusalDelta:
            turn.open_draft().refusal.append(event.text)
        elif kind is UsageReported:
            answer.usage = event
        elif kind is Finished:
            answer.finished = event
    return text


def write_text(turn: Turn, text: str) -> None:
    """Add to the draft, tell the readers, and store a partial copy now and then."""
    draft = turn.open_draft()
    draft.pieces.append(text)
    turn.live.text(draft.message.pk, text)
    now = monotonic()
    if now < turn.next_save:
        return
    if turn.next_save == 0:
        turn.next_save = now + conf.partial_seconds
    elif turn.saving is None or turn.saving.done():
        if turn.saving is not None:
            look_at_saved(turn.saving)
        turn.next_save = now + conf.partial_seconds
        draft.fill()
        turn.saving = asyncio.create_task(
            in_db(records.save_partial, turn.claim, draft, turn.live.state)
        )


async def settle_saving(turn: Turn) -> None:
    """Wait for the partial copy that is under way.

    Raises:
        ClaimLapsed: when it found out that another process took over.
    """
    if turn.saving is not None:
        await asyncio.wait({turn.saving})
        saving, turn.saving = turn.saving, None
        look_at_saved(saving)


def look_at_saved(saving: asyncio.Task[None]) -> None:
    """Go on without a partial copy that failed: the whole text is stored at the end.

    Raises:
        ClaimLapsed: when it found out that another process took over.
    """
    error = saving.exception()
    if isinstance(error, DatabaseError):
        log.warning("partial_copy_failed", error=type(error).__qualname__)
    elif error is not None:
        raise error


async def phase(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do as `in_db`, but a cancelled caller waits until `fn` is done.

    What follows a cancellation writes the same rows of the same turn.
    """
    work = asyncio.ensure_future(in_db(fn, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        if not work.cancelled() and work.exception() is not None:
            log.info("phase_failed_while_stopped", error=type(work.exception()).__qualname__)
        raise


async def tool_step(
    turn: Turn, principal: Principal, proposed: list[dispatch.ProposedCall]
) -> bool:
    """Record the calls, run those that may run, and return whether the run has to wait."""
    await settle_saving(turn)
    calls = await phase(records.record_calls, turn, principal, proposed)
    if turn.draft is not None:
        draft, turn.draft = turn.draft, None
        turn.publish_settled(draft)
    publish_step(turn, calls, "created")
    publish_step(turn, calls, "in_progress")
    assert turn.open_step is not None
    context = dispatch.CallContext(principal=principal, run=turn.run, step=turn.open_step)
    turn.step_calls = await dispatch.execute_all(context, calls)
    return await must_wait(turn)


async def must_wait(turn: Turn) -> bool:
    """Let the run wait where a call of its open step needs somebody; return whether it does."""
    calls = turn.step_calls
    waiting = [c for c in calls if c.status in (CallStatus.WAITING, CallStatus.PROPOSED)]
    if not waiting:
        return False
    await phase(records.require_action, turn, waiting)
    publish_step(turn, calls, "in_progress")
    turn.live.publish(
        "thread.run.requires_action", wire.run_object(turn.run, calls=calls, labels=turn.labels)
    )
    return True


def publish_step(turn: Turn, calls: list[ToolCall], status: str) -> None:
    """Tell the readers of the open tool step."""
    step = turn.open_step
    if step is not None:
        rendered = wire.step_object(step, run=turn.run, calls=calls, labels=turn.labels)
        turn.live.publish(f"thread.run.step.{status}", rendered)


def ending_of_error(error: UpstreamError) -> Ending:
    """Return how a run ends whose model server failed; its own words are never shown."""
    return failed(UPSTREAM_REASONS.get(error.code, Reason.SERVER_ERROR))


def loggable(error: UpstreamError) -> dict[str, Any]:
    """Return what may be logged of an error: its words only where they are about our access.

    What a model server says of a request it cannot use may quote the request.
    """
    found = {"code": error.code, "http_status": error.http_status}
    if error.http_status in (401, 403, 404):
        found["detail"] = error.message_for_operators
    return found


async def conclude(turn: Turn, ending: Ending) -> Started | None:
    """Store how the run ended, then tell its readers; return the next queued run.

    Raises:
        ClaimLapsed: when somebody else ended it first.
    """
    await settle_saving(turn)
    draft = turn.draft
    following = await in_db(records.finish, turn, ending)
    if draft is not None:
        turn.publish_settled(draft)
    if turn.open_step is not None:
        turn.open_step.status = ending.step_status
        publish_step(turn, turn.step_calls, ending.step_status)
    turn.live.publish(f"thread.run.{turn.run.status}", wire.run_object(turn.run))
    return following
