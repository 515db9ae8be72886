"""The database phases of a run: each function is one transaction in the run's tenant.

Every write names the claim; one that has lapsed raises ClaimLapsed and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

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
    Usage,
)
from chat.models.reasons import Reason
from chat.models.runs import CallStatus
from chat.runs import pricing, terms
from chat.runs.claims import Claim, ClaimLapsed, fenced_update
from chat.runs.drafts import store_draft, take_place
from chat.runs.lifecycle import advance
from chat.runs.limits import over_limit, prompt_tokens, tokens_left
from chat.runs.prompt import Prompt, build_prompt
from chat.runs.queue import start_next_queued
from chat.runs.turn import Ending, Spent, Started, Turn, failed, incomplete
from chat.tools import dispatch
from tenants.access import Principal, principal_for_run
from tenants.scope import tenant_scope


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A claimed run, ready for its first round here."""

    run: Run
    position: int
    index: int
    calls: tuple[ToolCall, ...]
    open_step: RunStep | None
    mapping: ThreadMapping | None


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one model round needs."""

    principal: Principal
    prompt: Prompt
    tokens_left: int | None


def load(claim: Claim) -> Loaded:
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
            started = run.started_at or timezone.now()
            if not advance(run.pk, RunStatus.IN_PROGRESS, claim=claim, started_at=started):
                raise ClaimLapsed(claim.run_id)
            run.status, run.started_at = RunStatus.IN_PROGRESS, started
        fresh = run.token == 1 and run.rounds == 0
        steps = [] if fresh else list(RunStep.objects.filter(run=run).order_by("index"))
        calls = [] if fresh else list(ToolCall.objects.filter(run=run).order_by("round", "index"))
        still_open = [step for step in steps if step.status == StepStatus.IN_PROGRESS]
        return Loaded(
            run=run,
            position=run.thread.last_position + 1,
            index=len(steps),
            calls=tuple(calls),
            open_step=still_open[-1] if still_open else None,
            mapping=ThreadMapping.objects.filter(thread=run.thread, upstream=run.upstream).first()
            if conf.upstream(run.upstream).get("CONVERSATIONS")
            else None,
        )


def principal_of(claim: Claim, run: Run) -> Principal | None:
    """Return the run's stored principal as it stands now, None where access has ended."""
    with tenant_scope(claim.tenant_id), transaction.atomic():
        return principal_for_run(claim.tenant_id, run.member_id, run.key_id)


def begin_round(turn: Turn, *, synced_through: int | None) -> Round | Ending:
    """Check the run's principal and limits as they are now, and build its prompt."""
    claim, run = turn.claim, turn.run
    with tenant_scope(claim.tenant_id), transaction.atomic():
        principal = principal_for_run(claim.tenant_id, run.member_id, run.key_id)
        if principal is None:
            return failed(Reason.ACCESS_ENDED)
        if not run.model:
            return failed(Reason.NO_ASSISTANT)
        if turn.open_step is not None:
            fenced_update(claim, rounds=turn.rounds)
            turn.open_step.status = StepStatus.COMPLETED
            turn.open_step.ended_at = timezone.now()
            turn.open_step.save(update_fields=["status", "ended_at"])
        policy = terms.policy()
        over = over_limit(turn, policy)
        if over is not None:
            return over
        prompt = build_prompt(run, synced_through=synced_through)
        left = tokens_left(turn, policy)
        if run.max_prompt_tokens and prompt_tokens(turn) + prompt.tokens > run.max_prompt_tokens:
            return incomplete(Reason.MAX_PROMPT_TOKENS)
        return Round(principal=principal, prompt=prompt, tokens_left=left)


def store_spent(run: Run, spent: Sequence[Spent]) -> dict[str, Any]:
    """Insert usage rows and return the run's new totals; failed attempts are not in them."""
    Usage.objects.bulk_create(pricing.usage_rows(run, spent))
    used = [one.usage for one in spent if one.outcome == "used"]
    run.prompt_tokens += sum(usage.input_tokens for usage in used)
    run.completion_tokens += sum(usage.output_tokens for usage in used)
    run.cached_tokens += sum(usage.cached_tokens for usage in used)
    return {
        "prompt_tokens": run.prompt_tokens,
        "completion_tokens": run.completion_tokens,
        "cached_tokens": run.cached_tokens,
    }


def record_calls(
    turn: Turn, principal: Principal, proposed: Sequence[dispatch.ProposedCall]
) -> list[ToolCall]:
    """Commit the answer's text, its tool step and the ledger rows, before any call runs."""
    run, now = turn.run, timezone.now()
    step = RunStep(
        run=run, index=turn.next_index, type="tool_calls", sent=turn.sent, created_at=now
    )
    turn.count_tokens(step)
    turn.next_index += 1
    with tenant_scope(turn.claim.tenant_id), transaction.atomic():
        if turn.draft is not None:
            take_place(turn.draft)
        totals = store_spent(run, turn.spent)
        turn.spent.clear()
        fenced_update(turn.claim, rounds=turn.rounds, state=turn.state_to_store, **totals)
        if turn.draft is not None:
            turn.draft.settle(now, message_reason="", step_status=StepStatus.COMPLETED)
            store_draft(turn.draft)
        step.save(force_insert=True)
        calls = dispatch.prepare(
            dispatch.CallContext(principal=principal, run=run, step=step), proposed
        )
    turn.open_step = step
    return calls


def require_action(turn: Turn, waiting: Sequence[ToolCall]) -> None:
    """Let the run wait for somebody: no process holds it meanwhile."""
    claim = turn.claim
    deadline = max(call.approval_expires_at or turn.run.expires_at for call in waiting)
    with tenant_scope(claim.tenant_id), transaction.atomic():
        totals = store_spent(turn.run, turn.spent)
        turn.spent.clear()
        moved = advance(
            claim.run_id,
            RunStatus.REQUIRES_ACTION,
            claim=claim,
            owner=None,
            expires_at=deadline,
            rounds=turn.rounds,
            state=turn.state_to_store,
            **totals,
        )
        if not moved:
            raise ClaimLapsed(claim.run_id)
    turn.run.status, turn.run.expires_at = RunStatus.REQUIRES_ACTION, deadline


def finish(turn: Turn, ending: Ending) -> Started | None:
    """Write message, steps, usage and final status, and start the next queued message.

    One transaction; returns the next run, claimed for this process, if any.
    """
    claim, run, now = turn.claim, turn.run, timezone.now()
    with tenant_scope(claim.tenant_id), transaction.atomic():
        # The thread first: everybody locks in this order.
        position = _lock_thread(turn)
        reason = _reason_of(run.pk, ending)
        totals = store_spent(run, turn.spent)
        moved = advance(
            claim.run_id,
            ending.status,
            claim=claim,
            reason=reason,
            ended_at=now,
            rounds=turn.rounds,
            state=turn.state_to_store,
            **totals,
        )
        if not moved:
            raise ClaimLapsed(claim.run_id)
        run.status, run.reason, run.ended_at = ending.status, reason, now
        if turn.draft is not None:
            turn.count_tokens(turn.draft.step)
            turn.draft.settle(
                now, message_reason=ending.message_reason, step_status=ending.step_status
            )
            store_draft(turn.draft)
        if turn.open_step is not None:
            close_steps(run.pk, ending, now)
        _sync_mapping(turn, ending, position)
        return start_next_queued(run.thread_id, owner=claim.owner)


def _reason_of(run_id: str, ending: Ending) -> str:
    """Return why a run ends: a stopped one as whoever stopped it said, in whichever process."""
    asked = ""
    if ending.status == RunStatus.CANCELLED:
        asked = Run.objects.filter(pk=run_id).values_list("reason", flat=True).first() or ""
    return asked or ending.reason or ""


def _lock_thread(turn: Turn) -> int:
    """Lock the run's thread by giving the draft its place, and return the last position."""
    threads = Thread.objects.filter(pk=turn.run.thread_id)
    if turn.draft is not None and turn.draft.message.position is not None:
        threads.update(last_position=turn.draft.message.position)
        return turn.draft.message.position
    thread: Thread = threads.locked().get()
    return thread.last_position


def close_steps(run_id: str, ending: Ending, now: datetime) -> None:
    """Close whatever a run left open: messages, steps and tool calls.

    A started call whose tool does more than read has an unknown outcome.
    """
    Message.objects.filter(run_ref=run_id, status="in_progress").update(
        status="incomplete",
        incomplete_reason=ending.message_reason or "run_failed",
        incomplete_at=now,
    )
    RunStep.objects.filter(run_id=run_id, status=StepStatus.IN_PROGRESS).update(
        status=ending.step_status, ended_at=now
    )
    calls = ToolCall.objects.filter(run_id=run_id, ended_at=None)
    calls.filter(status=CallStatus.STARTED).exclude(effect="read").update(
        status=CallStatus.OUTCOME_UNKNOWN, ended_at=now
    )
    calls.update(status=CallStatus.CANCELLED, ended_at=now)


def _sync_mapping(turn: Turn, ending: Ending, position: int) -> None:
    if turn.conversation is None:
        return
    mappings = ThreadMapping.objects.filter(
        thread_id=turn.run.thread_id, upstream=turn.run.upstream
    )
    if ending.status != RunStatus.COMPLETED:
        # What the server kept of a cut answer is not what the thread shows: rebuild next time.
        mappings.delete()
        return
    ThreadMapping.objects.update_or_create(
        thread_id=turn.run.thread_id,
        upstream=turn.run.upstream,
        defaults={"external_id": turn.conversation, "synced_through": position},
    )
