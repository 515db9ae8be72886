"""Agent loop of a claimed run: prompt, model, tools, repeated until the run ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from time import monotonic
from typing import Any

from chat import wire
from chat.conf import conf
from chat.models import ToolCall
from chat.models.reasons import Reason
from chat.models.runs import PENDING_STATUSES, RunStatus
from chat.runs import upstreams
from chat.runs.billing.limits import get_cut_reason
from chat.runs.citations.artifacts import Artifacts
from chat.runs.delivery.hub import LiveRun
from chat.runs.endings import COMPLETED, Ending, build_failure, build_incomplete
from chat.runs.engine.autosave import wait_for_autosave
from chat.runs.engine.model_step import Answer, run_model_step
from chat.runs.state import transactions
from chat.runs.state.transactions import Round
from chat.runs.state.turn import ClaimedRun, SameCalls, Turn
from chat.tools import dispatch, ledger, registry
from chat.upstream.errors import UpstreamError
from tenants.db import run_uncancelled, run_with_retry

UPSTREAM_REASONS = {
    "rate_limited": Reason.UPSTREAM_RATE_LIMITED,
    "unavailable": Reason.UPSTREAM_UNAVAILABLE,
    "timeout": Reason.UPSTREAM_TIMEOUT,
    "simulated_failure": Reason.UPSTREAM_UNAVAILABLE,
    "refused": Reason.UPSTREAM_REFUSED,
    "authentication_failed": Reason.UPSTREAM_REFUSED,
    "not_found": Reason.UPSTREAM_REFUSED,
    "quota_exceeded": Reason.UPSTREAM_REFUSED,
    "context_too_long": Reason.CONTEXT_TOO_LONG,
    "images_refused": Reason.IMAGES_REFUSED,
    "content_refused": Reason.CONTENT_REFUSED,
    "stream_broken": Reason.STREAM_BROKEN,
}


async def begin(started: ClaimedRun, live: LiveRun) -> Turn:
    """Load a claimed run and notify its readers that it is in progress.

    A run that was just inserted by this process is not read again; its first round moves it to
    in progress.

    Raises:
        ClaimLapsed: another process has claimed the run.
    """
    if started.run is None or upstreams.has_server_conversations(started.run.upstream):
        loaded = await run_uncancelled(transactions.load, started.claim)
    else:
        loaded = transactions.LoadedRun.from_inserted(started.run)
    run = loaded.run
    turn = Turn(
        claim=started.claim,
        live=live,
        run=run,
        labels=registry.get_labels(),
        deadline=monotonic() + started.seconds_left,
        next_position=loaded.position,
        next_index=loaded.index,
        open_step=loaded.open_step,
        rounds=run.rounds,
        calls_made=len(loaded.calls),
        same_calls=count_same_calls(loaded.calls),
        # After a take-over the server's conversation is incomplete: send the whole prompt.
        conversation=loaded.mapping.external_id if loaded.mapping and not run.rounds else None,
    )
    turn.made.add(loaded.unshown)
    if run.status != RunStatus.QUEUED:
        live.publish("thread.run.in_progress", wire.run_object(run))
    if loaded.open_step is not None:
        await resume_calls(turn, [c for c in loaded.calls if c.step_id == loaded.open_step.pk])
    elif loaded.mapping is not None and turn.conversation is not None:
        turn.synced_through = loaded.mapping.synced_through
    return turn


async def resume_calls(turn: Turn, calls: list[ToolCall]) -> None:
    """Execute calls approved in the meantime, and settle those that a dead process left."""
    assert turn.open_step is not None
    principal = await run_uncancelled(transactions.find_principal, turn.claim, turn.run)
    if principal is None:
        return
    context = dispatch.CallContext(principal=principal, run=turn.run, step=turn.open_step)
    publish_step(turn, calls, "in_progress")
    turn.step_calls = await dispatch.resume_all(context, calls)
    turn.made.add(turn.step_calls)


async def run_rounds(turn: Turn) -> Ending | None:
    """Run model rounds until the run ends; None if it requires action.

    Raises:
        UpstreamError: the model server failed and retries are used up.
        ClaimLapsed: another process took over.
    """
    # A process that died during tool calls may have left others that still require action.
    if await pause_if_pending(turn):
        return None
    while True:
        queued = turn.run.status == RunStatus.QUEUED
        plan = await run_uncancelled(
            transactions.begin_round, turn, synced_through=turn.synced_through
        )
        if queued:
            turn.live.publish("thread.run.in_progress", wire.run_object(turn.run))
        if isinstance(plan, Ending):
            return plan
        if turn.open_step is not None:
            publish_step(turn, turn.step_calls, "completed")
            turn.open_step, turn.answered, turn.step_calls = None, turn.step_calls, []
        turn.history = plan.history
        turn.rounds += 1
        turn.run.rounds = turn.rounds
        answer = await run_model_step(turn, plan)
        if answer is None:
            continue
        if isinstance(answer, Ending):
            return answer
        proposed = answer.list_calls()
        if not proposed or answer.is_cut:
            # Calls of a truncated answer may be truncated themselves.
            return build_ending(turn, answer)
        ending = check_tool_calls(turn, proposed)
        if ending is not None:
            return ending
        if await run_tool_step(turn, plan, proposed):
            return None


def build_ending(turn: Turn, answer: Answer) -> Ending:
    """Return the ending of a run whose last answer calls no tool."""
    reason = answer.finished.reason if answer.finished else "stop"
    if reason == "length":
        return build_incomplete(get_cut_reason(turn))
    if reason == "content_filter":
        return build_incomplete(Reason.CONTENT_FILTER)
    return COMPLETED


def check_tool_calls(turn: Turn, proposed: list[dispatch.ProposedCall]) -> Ending | None:
    """Return the ending of a run with too many or repeated calls, None if it may continue."""
    turn.calls_made += len(proposed)
    if turn.calls_made > conf.max_tool_calls:
        return build_failure(Reason.TOO_MANY_CALLS)
    call_keys = {(call.name, ledger.hash_arguments(turn.run, call.arguments)) for call in proposed}
    turn.same_calls = add_round(turn.same_calls, call_keys)
    if max(turn.same_calls.values(), default=0) >= conf.max_same_calls:
        return build_failure(Reason.LOOP)
    return None


def count_same_calls(calls: Iterable[ToolCall]) -> SameCalls:
    """Return the counts of `check_tool_calls` after the rounds of `calls`, given in order."""
    counts: SameCalls = Counter()
    for _round, round_calls in groupby(calls, key=lambda call: call.round):
        counts = add_round(counts, {(c.name, c.arguments_hash) for c in round_calls})
    return counts


def add_round(counted: SameCalls, called: Iterable[tuple[str, str]]) -> SameCalls:
    """Return the number of consecutive rounds, up to this one, that contain each call."""
    return Counter({call: counted[call] + 1 for call in called})


async def run_tool_step(turn: Turn, plan: Round, proposed: list[dispatch.ProposedCall]) -> bool:
    """Record the calls, execute those that may run, and return whether the run must wait."""
    await wait_for_autosave(turn)
    step, message = turn.build_tool_step(), None
    calls = await run_uncancelled(transactions.record_calls, turn, plan.principal, step, proposed)
    if turn.draft is not None:
        draft, turn.draft, turn.made = turn.draft, None, Artifacts()
        turn.publish_closed(draft)
        message = draft.message
    publish_step(turn, calls, "created")
    publish_step(turn, calls, "in_progress")
    context = dispatch.CallContext(principal=plan.principal, run=turn.run, step=step)
    turn.step_calls = await dispatch.execute_all(context, calls)
    turn.made.add(turn.step_calls)
    plan.history.add(message, turn.step_calls)
    return await pause_if_pending(turn)


async def pause_if_pending(turn: Turn) -> bool:
    """Move the run to requires_action if a call of its open step needs it; return whether so."""
    calls = turn.step_calls
    waiting = [c for c in calls if c.status in PENDING_STATUSES]
    if not waiting:
        return False
    try:
        await run_uncancelled(transactions.require_action, turn, waiting)
    finally:
        # Even if the run is cancelled at this point: it is waiting now, with another deadline.
        if is_waiting(turn):
            publish_step(turn, calls, "in_progress")
            rendered = wire.run_object(turn.run, calls=calls, labels=turn.labels)
            turn.live.publish("thread.run.requires_action", rendered)
    return True


def is_waiting(turn: Turn | None) -> bool:
    """Return whether the run requires action, so that no process has to end it."""
    return turn is not None and turn.run.status == RunStatus.REQUIRES_ACTION


def publish_step(turn: Turn, calls: list[ToolCall], status: str) -> None:
    """Publish the open tool step to the readers."""
    step = turn.open_step
    if step is not None:
        rendered = wire.step_object(step, run=turn.run, calls=calls, labels=turn.labels)
        turn.live.publish(f"thread.run.step.{status}", rendered)


def build_error_ending(error: UpstreamError) -> Ending:
    """Return the ending for a failed model server; its own message is never shown."""
    return build_failure(UPSTREAM_REASONS.get(error.code, Reason.SERVER_ERROR))


def get_log_fields(error: UpstreamError) -> dict[str, Any]:
    """Return the loggable fields of an error; its message only for access errors.

    A model server's message about a rejected request may quote the request.
    """
    fields = {"code": error.code, "http_status": error.http_status}
    if error.http_status in (401, 403, 404):
        fields["detail"] = error.message_for_operators
    return fields


async def conclude(turn: Turn, ending: Ending) -> ClaimedRun | None:
    """Store the end of the run, then publish it; return the next queued run.

    Raises:
        ClaimLapsed: the run was ended by another process first.
    """
    await wait_for_autosave(turn)
    turn.record_interrupted_call(ending.status)
    draft = turn.draft
    following = await run_with_retry(transactions.finish, turn, ending)
    if draft is not None:
        turn.publish_closed(draft)
    if turn.open_step is not None:
        turn.open_step.status = ending.step_status
        publish_step(turn, turn.step_calls, ending.step_status)
    turn.live.publish(f"thread.run.{turn.run.status}", wire.run_object(turn.run))
    return following
