"""Database transactions of a run: most functions are one transaction in the run's tenant.

Every write is fenced by the claim: a lapsed claim raises ClaimLapsed and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from chat.conf import conf
from chat.models import (
    Message,
    Run,
    RunStatus,
    RunStep,
    StepStatus,
    Thread,
    ThreadMapping,
    ToolCall,
    UsageOutcome,
)
from chat.models.reasons import Reason
from chat.models.runs import CallStatus
from chat.runs import upstreams
from chat.runs.billing import prices, tenant_policy_cache
from chat.runs.billing.limits import (
    Budget,
    check_limits,
    compute_budget,
    compute_output_limit,
    count_prompt_tokens,
)
from chat.runs.citations.markers import find_file_links
from chat.runs.endings import CANCELLED, Ending, OutputLimit, build_failure, build_incomplete
from chat.runs.prompt.build import Prompt, build_prompt
from chat.runs.prompt.history import History
from chat.runs.state.claims import Claim, ClaimLapsed, update_fenced
from chat.runs.state.drafts import build_draft_inserts, is_draft_stored, update_last_position
from chat.runs.state.lifecycle import advance
from chat.runs.state.queue import start_next_queued
from chat.runs.state.turn import ClaimedRun, Draft, Turn
from chat.tools import code_interpreter, dispatch
from chat.tools.code_files import InputFile
from tenants import clock
from tenants.authentication import Principal, get_run_principal
from tenants.bulk_insert import Insert, insert_many_tables
from tenants.scope import tenant_scope

TOTALS = ("prompt_tokens", "completion_tokens", "cached_tokens", "usage_estimated")


@dataclass(frozen=True, kw_only=True)
class LoadedRun:
    """A claimed run, loaded for its first round in this process."""

    run: Run
    position: int
    index: int
    calls: tuple[ToolCall, ...]
    # Calls of closed steps after the run's last complete message.
    unshown: tuple[ToolCall, ...]
    open_step: RunStep | None
    mapping: ThreadMapping | None

    @classmethod
    def from_inserted(cls, run: Run) -> LoadedRun:
        """Return the loaded form of a run that was just inserted, of which only the row exists."""
        position = run.through_position + 1
        return cls(
            run=run,
            position=position,
            index=0,
            calls=(),
            unshown=(),
            open_step=None,
            mapping=None,
        )


@dataclass(frozen=True, kw_only=True)
class Round:
    """Plan of one model round: principal, prompt and limits."""

    principal: Principal
    history: History
    prompt: Prompt
    limit: OutputLimit | None
    # Rest of the tenant's cost limit, None if it has none.
    budget: Budget | None = None
    # Files that the run's code may read, None if it may not run code.
    code_files: list[InputFile] | None = None


def load(claim: Claim) -> LoadedRun:
    """Read a claimed run and move it from queued to in progress."""
    with tenant_scope(claim.tenant_id), transaction.atomic():
        run = (
            Run.objects.active()
            .select_related("thread", "assistant")
            .filter(pk=claim.run_id, owner=claim.owner, token=claim.token)
            .first()
        )
        if run is None:
            raise ClaimLapsed(claim.run_id)
        if run.status == RunStatus.QUEUED:
            _set_fields(run, _start_run(claim, run))
        fresh = run.token == 1 and run.rounds == 0
        steps = [] if fresh else list(RunStep.objects.filter(run=run).order_by("index"))
        calls = [] if fresh else list(ToolCall.objects.filter(run=run).order_by("round", "index"))
        still_open = [step for step in steps if step.status == StepStatus.IN_PROGRESS]
        return LoadedRun(
            run=run,
            position=run.thread.last_position + 1,
            index=len(steps),
            calls=tuple(calls),
            unshown=tuple(_list_unshown_calls(steps, calls)),
            open_step=still_open[-1] if still_open else None,
            mapping=ThreadMapping.objects.filter(thread=run.thread, upstream=run.upstream).first()
            if upstreams.has_server_conversations(run.upstream)
            else None,
        )


def _list_unshown_calls(steps: Sequence[RunStep], calls: Sequence[ToolCall]) -> Iterator[ToolCall]:
    complete_indexes = [s.index for s in steps if s.message_id and s.status == StepStatus.COMPLETED]
    later = {
        step.pk
        for step in steps
        if step.index > max(complete_indexes, default=-1) and step.status == StepStatus.COMPLETED
    }
    return (call for call in calls if call.step_id in later)


def _start_run(claim: Claim, run: Run) -> dict[str, Any]:
    """Move a queued run to in progress unless it is cancelled; return its changed fields.

    Raises:
        ClaimLapsed: this process no longer holds the claim.
    """
    started = run.started_at or clock.now()
    if advance(run.pk, RunStatus.IN_PROGRESS, claim=claim, started_at=started):
        return {"status": RunStatus.IN_PROGRESS, "started_at": started}
    claimed = Run.objects.active().filter(pk=run.pk, owner=claim.owner, token=claim.token)
    stored = claimed.values("status", "started_at").first()
    if stored is None:
        raise ClaimLapsed(run.pk)
    return dict(stored)


def _set_fields(run: Run, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        setattr(run, name, value)


def find_principal(claim: Claim, run: Run) -> Principal | None:
    """Return the run's principal with its current rights, None if its access has ended."""
    with tenant_scope(claim.tenant_id), transaction.atomic():
        return get_run_principal(claim.tenant_id, run.member_id, run.key_id)


def begin_round(turn: Turn, *, synced_through: int | None) -> Round | Ending:
    """Check the run's current principal and limits, and build its prompt."""
    moved: dict[str, Any] = {}
    with tenant_scope(turn.claim.tenant_id), transaction.atomic():
        if turn.run.status == RunStatus.QUEUED:
            moved = _start_run(turn.claim, turn.run)
        if moved.get("status", turn.run.status) == RunStatus.CANCELLING:
            return CANCELLED
        plan = _plan_round(turn, synced_through)
    _set_fields(turn.run, moved)
    return plan


def _plan_round(turn: Turn, synced_through: int | None) -> Round | Ending:
    claim, run = turn.claim, turn.run
    principal = get_run_principal(claim.tenant_id, run.member_id, run.key_id)
    if principal is None:
        return build_failure(Reason.ACCESS_ENDED)
    if not run.model:
        return build_failure(Reason.NO_ASSISTANT)
    if not conf.has_upstream(run.upstream):
        return build_failure(Reason.UPSTREAM_REMOVED)
    if turn.open_step is not None and turn.open_step.status == StepStatus.IN_PROGRESS:
        update_fenced(claim, rounds=turn.rounds)
        turn.open_step.status = StepStatus.COMPLETED
        turn.open_step.ended_at = clock.now()
        turn.open_step.save(update_fields=["status", "ended_at"])
    policy = tenant_policy_cache.get_policy()
    limit_ending = check_limits(turn, policy)
    if limit_ending is not None:
        return limit_ending
    budget = compute_budget(turn, policy)
    if isinstance(budget, Ending):
        return budget
    history = turn.history or History.of(run)
    prompt = build_prompt(history, synced_through=synced_through)
    if run.max_prompt_tokens and count_prompt_tokens(turn) + prompt.tokens > run.max_prompt_tokens:
        return build_incomplete(Reason.MAX_PROMPT_TOKENS)
    return Round(
        principal=principal,
        history=history,
        prompt=prompt,
        limit=compute_output_limit(turn, policy),
        budget=budget,
        code_files=code_interpreter.list_input_files(principal, run),
    )


def compute_totals(turn: Turn) -> dict[str, Any]:
    """Return the run's totals plus unsaved usage, without failed attempts."""
    run = turn.run
    counted = [spent for spent in turn.unsaved_usage if spent.outcome != UsageOutcome.FAILED]
    used = [spent.usage for spent in counted]
    return {
        "prompt_tokens": run.prompt_tokens + sum(usage.input_tokens for usage in used),
        "completion_tokens": run.completion_tokens + sum(usage.output_tokens for usage in used),
        "cached_tokens": run.cached_tokens + sum(usage.cached_tokens for usage in used),
        "usage_estimated": run.usage_estimated or any(spent.estimated for spent in counted),
    }


def apply_totals(turn: Turn, totals: dict[str, Any]) -> None:
    """Set the run's new totals after their commit, and clear the usage stored with them."""
    _set_fields(turn.run, totals)
    turn.unsaved_usage.clear()


def record_calls(
    turn: Turn, principal: Principal, step: RunStep, proposed: Sequence[dispatch.ProposedCall]
) -> list[ToolCall]:
    """Commit the answer's text, its tool `step` and its tool calls before any call runs."""
    try:
        with tenant_scope(turn.claim.tenant_id), transaction.atomic():
            calls, totals = _record_calls(turn, principal, step, proposed)
    except IntegrityError:
        # The previous attempt was committed, but the connection broke before the confirmation.
        calls, totals = _load_recorded_calls(turn, step)
    apply_totals(turn, totals)
    turn.open_step = step
    return calls


def _record_calls(
    turn: Turn, principal: Principal, step: RunStep, proposed: Sequence[dispatch.ProposedCall]
) -> tuple[list[ToolCall], dict[str, Any]]:
    if turn.draft is not None:
        update_last_position(turn.draft)
    totals = compute_totals(turn)
    changes = {"rounds": turn.rounds, "state": turn.state_to_store, "retry_at": None, **totals}
    update_fenced(turn.claim, **changes)
    beside = [build_usage_insert(turn), Insert(rows=[step])]
    if turn.draft is not None:
        _link_files(turn.draft)
        turn.draft.close(step.created_at, message_reason="", step_status=StepStatus.COMPLETED)
        beside += build_draft_inserts(turn.draft)
    context = dispatch.CallContext(principal=principal, run=turn.run, step=step)
    return dispatch.prepare(context, proposed, beside=beside), totals


def build_usage_insert(turn: Turn) -> Insert:
    """Return the insert of the turn's unsaved usage rows."""
    return Insert(rows=prices.build_usage_rows(turn.run, turn.unsaved_usage))


def _link_files(draft: Draft) -> None:
    """Set the draft's links: files created by code that the text links to."""
    files, thread = draft.made.files, draft.message.thread_id
    draft.links = find_file_links(draft.text, files, thread_id=thread)


def _load_recorded_calls(turn: Turn, step: RunStep) -> tuple[list[ToolCall], dict[str, Any]]:
    with tenant_scope(turn.claim.tenant_id), transaction.atomic():
        calls = list(ToolCall.objects.filter(step=step).order_by("index"))
        totals = Run.objects.values(*TOTALS).get(pk=turn.run.pk)
    if not calls:
        raise ClaimLapsed(turn.run.pk)
    return calls, totals


def supersede_draft(turn: Turn, draft: Draft) -> None:
    """Close an interrupted draft whose step will be repeated as a new one."""
    draft.close(clock.now(), message_reason="run_failed", step_status=StepStatus.FAILED)
    with tenant_scope(turn.claim.tenant_id), transaction.atomic():
        totals = compute_totals(turn)
        update_last_position(draft)
        if is_draft_stored(draft):
            update_fenced(turn.claim, state=turn.state_to_store)
            totals = Run.objects.values(*TOTALS).get(pk=turn.run.pk)
        else:
            turn.record_tokens(draft.step)
            update_fenced(turn.claim, state=turn.state_to_store, **totals)
            insert_many_tables([build_usage_insert(turn), *build_draft_inserts(draft)])
    apply_totals(turn, totals)


def require_action(turn: Turn, waiting: Sequence[ToolCall]) -> None:
    """Move the run to requires_action and release its claim."""
    deadline = max(call.approval_expires_at or turn.run.expires_at for call in waiting)
    try:
        with tenant_scope(turn.claim.tenant_id), transaction.atomic():
            totals = _move(turn, RunStatus.REQUIRES_ACTION, owner=None, expires_at=deadline)
            insert_many_tables([build_usage_insert(turn)])
    except ClaimLapsed:
        totals = _read_written_totals(turn, RunStatus.REQUIRES_ACTION, owner=None)
        del totals["reason"]
    apply_totals(turn, totals)
    turn.run.status, turn.run.expires_at = RunStatus.REQUIRES_ACTION, deadline


def finish(turn: Turn, ending: Ending) -> ClaimedRun | None:
    """Write message, steps, usage and final status, and start the next queued message.

    One transaction. Return the next run, claimed for this process, if any.
    """
    run, now = turn.run, clock.now()
    try:
        with tenant_scope(turn.claim.tenant_id), transaction.atomic():
            reason, totals, following = _finish(turn, ending, now)
    except ClaimLapsed:
        totals = _read_written_totals(turn, ending.status, owner=turn.claim.owner)
        # The next run, if any, is found by the check for unattended runs.
        reason, following = totals.pop("reason"), None
    apply_totals(turn, totals)
    run.status, run.reason, run.ended_at = ending.status, reason, now
    return following


def _finish(
    turn: Turn, ending: Ending, now: datetime
) -> tuple[str, dict[str, Any], ClaimedRun | None]:
    run = turn.run
    # Lock the thread first, as every transaction does.
    position = _lock_thread(turn)
    reason = _get_end_reason(run.pk, ending)
    totals = _move(turn, ending.status, reason=reason, ended_at=now)
    inserts = [build_usage_insert(turn)]
    if turn.draft is not None:
        turn.record_tokens(turn.draft.step)
        _link_files(turn.draft)
        turn.draft.close(now, message_reason=ending.message_reason, step_status=ending.step_status)
        inserts += build_draft_inserts(turn.draft)
    insert_many_tables(inserts)
    if turn.open_step is not None:
        close_steps(run.pk, ending, now)
    _sync_mapping(turn, ending, position)
    return reason, totals, start_next_queued(run.thread_id, owner=turn.claim.owner)


def _move(turn: Turn, status: RunStatus, **fields: Any) -> dict[str, Any]:
    """Move the claimed run to `status` and return its new totals; the caller inserts usage rows.

    Raises:
        ClaimLapsed: this process no longer holds the claim, or the run has already moved.
    """
    totals = compute_totals(turn)
    changes = {"rounds": turn.rounds, "state": turn.state_to_store, "retry_at": None}
    if not advance(turn.claim.run_id, status, claim=turn.claim, **changes, **totals, **fields):
        raise ClaimLapsed(turn.claim.run_id)
    return totals


def _read_written_totals(turn: Turn, status: RunStatus, *, owner: UUID | None) -> dict[str, Any]:
    """Return totals and reason of a run that already has the status.

    Only this process writes under this claim, so the previous attempt was committed and the
    connection broke before the confirmation.

    Raises:
        ClaimLapsed: the run has another status, owner or token.
    """
    with tenant_scope(turn.claim.tenant_id), transaction.atomic():
        rows = Run.objects.filter(pk=turn.run.pk, token=turn.claim.token)
        stored = rows.filter(owner=owner, status=status).values(*TOTALS, "reason").first()
    if stored is None:
        raise ClaimLapsed(turn.run.pk)
    return dict(stored)


def _get_end_reason(run_id: str, ending: Ending) -> str:
    """Return the end reason; for a cancelled run, the one stored by the cancellation."""
    stored_reason = ""
    if ending.status == RunStatus.CANCELLED:
        stored_reason = Run.objects.filter(pk=run_id).values_list("reason", flat=True).first() or ""
    return stored_reason or ending.reason or ""


def _lock_thread(turn: Turn) -> int:
    """Lock the run's thread, set the draft's position, and return the last position."""
    threads = Thread.objects.filter(pk=turn.run.thread_id)
    if turn.draft is not None and turn.draft.message.position is not None:
        threads.update(last_position=turn.draft.message.position)
        return turn.draft.message.position
    thread: Thread = threads.locked().get()
    return thread.last_position


def close_steps(run_id: str, ending: Ending, now: datetime) -> None:
    """Close the open messages, steps and tool calls of a run.

    The outcome of a started call is unknown unless its tool is read-only.
    """
    Message.objects.filter(run_ref=run_id, status="in_progress").update(
        status="incomplete",
        incomplete_reason=ending.message_reason or "run_failed",
        incomplete_at=now,
    )
    # Update calls before steps: the transaction that ends a call locks them in this order.
    calls = ToolCall.objects.filter(run_id=run_id, ended_at=None)
    calls.filter(status=CallStatus.STARTED).exclude(effect="read").update(
        status=CallStatus.OUTCOME_UNKNOWN, ended_at=now
    )
    calls.update(status=CallStatus.CANCELLED, ended_at=now)
    RunStep.objects.filter(run_id=run_id, status=StepStatus.IN_PROGRESS).update(
        status=ending.step_status, ended_at=now
    )


def _sync_mapping(turn: Turn, ending: Ending, position: int) -> None:
    if turn.conversation is None:
        return
    mappings = ThreadMapping.objects.filter(
        thread_id=turn.run.thread_id, upstream=turn.run.upstream
    )
    if ending.status != RunStatus.COMPLETED:
        # After a cut answer the server-side conversation differs from the thread: rebuild it.
        mappings.delete()
        return
    ThreadMapping.objects.update_or_create(
        thread_id=turn.run.thread_id,
        upstream=turn.run.upstream,
        defaults={"external_id": turn.conversation, "synced_through": position},
    )
