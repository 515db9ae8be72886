"""Heartbeats and take-over of lapsed runs: database operations of the worker."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from chat import wire
from chat.conf import conf
from chat.models import (
    Message,
    Process,
    Run,
    RunStatus,
    RunStep,
    StepStatus,
    Thread,
    ToolCall,
)
from chat.models.reasons import Reason
from chat.models.runs import CallStatus
from chat.runs.endings import CANCELLED, EXPIRED, Ending, build_failure
from chat.runs.state import queue, snapshots, transactions
from chat.runs.state.claims import Claim, pending_claims
from chat.runs.state.enqueue import enqueue
from chat.runs.state.lifecycle import advance
from chat.runs.state.lost_calls import meter_lost_call
from chat.runs.state.turn import ClaimedRun, Event, Turn
from chat.tools import registry
from tenants import clock
from tenants.bulk_insert import insert_many_tables
from tenants.db import call_privileged
from tenants.scope import tenant_scope

log = structlog.get_logger(__name__)

TAKE_OVER_BATCH = 200
KEEP_DEAD_PROCESSES = timedelta(hours=1)


UPSERT_HEARTBEAT = """
INSERT INTO chat_process (id, started_at, beat_at)
VALUES (%s, clock_timestamp(), clock_timestamp())
ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at RETURNING beat_at
"""


def heartbeat(process_id: UUID) -> datetime:
    """Write this process's heartbeat and return its time; delete processes dead for an hour.

    Heartbeats are written and compared with the database's clock, so a host with a wrong clock
    neither looks dead nor considers others dead.
    """
    with connection.cursor() as cursor:
        cursor.execute(UPSERT_HEARTBEAT, [process_id])
        beat_at: datetime = cursor.fetchone()[0]
    Process.objects.filter(beat_at__lt=Now() - KEEP_DEAD_PROCESSES).delete()
    return beat_at


def deregister(process_id: UUID) -> None:
    """Remove this process; the runs it still owns lapse at once."""
    Process.objects.filter(id=process_id).delete()


def free_claims(process_ids: Collection[UUID]) -> None:
    """Free the runs of ended processes, so that any process can take them over at once.

    Writes of these processes stay fenced by the token, which increases with the next claim.
    """
    Process.objects.filter(id__in=process_ids).delete()
    log.info("claims_freed", processes=len(process_ids))


def release(claim: Claim, *, failed: bool, turn: Turn | None = None) -> None:
    """Release a run, so that another process can take it over at once.

    `failed` counts as a take-over: the run could not be concluded here, and may fail in other
    processes too. Usage of the `turn` that is not stored yet is recorded.
    """
    with tenant_scope(claim.tenant_id), transaction.atomic():
        rows = Run.objects.active().filter(pk=claim.run_id, owner=claim.owner, token=claim.token)
        totals = (
            transactions.compute_totals(turn) if turn is not None and turn.unsaved_usage else {}
        )
        if rows.update(owner=None, takeovers=F("takeovers") + int(failed), **totals):
            if turn is not None:
                insert_many_tables([transactions.build_usage_insert(turn)])
            enqueue(claim.tenant_id, claim.run_id)


@dataclass(frozen=True, kw_only=True)
class TakeoverResult:
    """Result of a take-over: the run was claimed (`started`), or ended and the next one started.

    `ended` holds the events of an ended run. A `suspect` run has lost more than one process and
    may be what kills them.
    """

    tenant_id: UUID
    thread_id: str
    started: ClaimedRun | None
    ended: tuple[Event, ...] = ()
    suspect: bool = False


def list_lapsed_runs() -> list[tuple[str, UUID]]:
    """Return id and tenant of runs that no live process executes, those due first."""
    return [
        (run_id, tenant_id)
        for run_id, tenant_id in call_privileged("lapsed_runs", conf.lapse_seconds, TAKE_OVER_BATCH)
    ]


def list_unattended_runs(process_id: UUID, *, known: Collection[str]) -> set[tuple[str, UUID]]:
    """Return id and tenant of runs that this process owns and that are not in `known`."""
    return set(call_privileged("owned_runs", process_id, list(known)))


def take_over(
    tenant_id: UUID, run_id: str, *, owner: UUID | None, suspects: bool = True
) -> TakeoverResult | None:
    """Claim one lapsed run for the process `owner`, or end it if it cannot continue.

    Return None if it has not lapsed any more, or if it could continue but `owner` is None: a
    process that accepts no runs leaves it to others. The same applies to a suspect unless
    `suspects`.
    """
    with tenant_scope(tenant_id), transaction.atomic():
        run = _lock_run(run_id)
        if run is None or not _is_lapsed(run):
            return None
        ending = _build_lapsed_ending(run)
        if ending is not None:
            following = end_row(run, ending, owner=owner, is_lost=True)
            return TakeoverResult(
                tenant_id=tenant_id,
                thread_id=run.thread_id,
                started=following,
                ended=list_end_announcements(run),
            )
        suspect = run.owner is not None and run.takeovers > 0
        if owner is None or (suspect and not suspects):
            return None
        started = _claim_again(run, owner) if run.token else _claim_first(run, owner)
        return TakeoverResult(
            tenant_id=tenant_id, thread_id=run.thread_id, started=started, suspect=suspect
        )


def reclaim(tenant_id: UUID, run_id: str, *, owner: UUID) -> ClaimedRun | None:
    """Claim a run again that this process owns but does not execute; None if it has ended."""
    with tenant_scope(tenant_id), transaction.atomic():
        run = _lock_run(run_id)
        if run is None or run.owner != owner:
            return None
        if run.started_at is None:
            return _claim_first(run, owner)
        run.owner = None  # nothing died
        return _claim_again(run, owner)


def _claim_first(run: Run, owner: UUID) -> ClaimedRun | None:
    """Claim a run that no process has started: no event of it has been published."""
    run.owner, run.token = owner, run.token + 1
    run.save(update_fields=["owner", "token"])
    user_messages = Message.objects.select_related("assistant").filter(
        thread_id=run.thread_id, position=run.through_position, role="user"
    )
    return queue.build_claimed_run(run, message=user_messages.first())


def _claim_again(run: Run, owner: UUID) -> ClaimedRun:
    totals = meter_lost_call(run)
    _close_interrupted_step(run)
    if run.owner is not None:
        # Its process died; a released run has no owner and is not counted.
        run.takeovers += 1
    run.owner, run.token, run.retry_at = owner, run.token + 1, None
    # Readers may have received higher state numbers than were stored.
    run.state += 1000
    run.save(update_fields=["owner", "token", "takeovers", "state", "retry_at", *totals])
    log.warning("run_taken_over", run_id=run.pk, takeovers=run.takeovers)
    claim = Claim.of(run)
    pending_claims.register(claim)
    return ClaimedRun(
        claim=claim,
        thread_id=run.thread_id,
        state=run.state,
        seconds_left=(run.expires_at - clock.now()).total_seconds(),
        announce=_list_ends(run),
    )


def _lock_run(run_id: str) -> Run | None:
    """Lock the thread, then the run; every transaction locks in this order."""
    thread_id = Run.objects.filter(pk=run_id).values_list("thread_id", flat=True).first()
    if thread_id is None:
        return None
    Thread.objects.locked().filter(pk=thread_id).first()
    run: Run | None = (
        Run.objects.active()
        .select_related("thread", "assistant")
        .select_for_update(of=("self",), no_key=True)
        .filter(pk=run_id)
        .first()
    )
    return run


def _is_lapsed(run: Run) -> bool:
    if run.expires_at < clock.now():
        return True
    if run.status == RunStatus.REQUIRES_ACTION:
        return False
    if run.owner is None:
        return True
    alive_since = Now() - timedelta(seconds=conf.lapse_seconds)
    return not Process.objects.filter(id=run.owner, beat_at__gte=alive_since).exists()


def _build_lapsed_ending(run: Run) -> Ending | None:
    if run.status == RunStatus.CANCELLING or run.thread.deleted_at is not None:
        return build_stop_ending(run)
    if run.expires_at < clock.now():
        waiting = ToolCall.objects.filter(run=run, status=CallStatus.WAITING)
        is_approval = run.status == RunStatus.REQUIRES_ACTION and waiting.exists()
        # A client that submits no tool outputs in time is an ordinary timeout.
        return replace(EXPIRED, reason=Reason.APPROVAL_EXPIRED) if is_approval else EXPIRED
    if run.takeovers >= conf.max_takeovers:
        return build_failure(Reason.POISON)
    return None


def is_overdue(expires_at: datetime) -> bool:
    """Return whether a run is past its deadline for so long that no process will end it."""
    return expires_at < clock.now() - timedelta(seconds=conf.lapse_seconds)


def end_overdue(run_id: str, *, owner: UUID | None) -> tuple[Run, ClaimedRun | None]:
    """End a run that is past its deadline; the caller holds scope, transaction and thread lock."""
    run: Run = Run.objects.select_related("thread", "assistant").get(pk=run_id)
    ending = _build_lapsed_ending(run)
    assert ending is not None
    return run, end_row(run, ending, owner=owner, is_lost=True)


def _close_interrupted_step(run: Run) -> None:
    """Close the step that will be repeated as a new one: its text is excluded from the prompt."""
    now = clock.now()
    Message.objects.filter(run_ref=run.pk, status="in_progress").update(
        status="incomplete", incomplete_reason="run_failed", incomplete_at=now
    )
    RunStep.objects.filter(run=run, type="message_creation", status=StepStatus.IN_PROGRESS).update(
        status=StepStatus.FAILED, ended_at=now
    )


def _list_ends(run: Run) -> tuple[Event, ...]:
    """Return the end events of the run's messages and steps from its rows.

    The dead process may have stored an end without publishing it.
    """
    return tuple(
        (entry.event, entry.data)
        for entry in snapshots.build_events(run, registry.get_labels())
        if entry.data["object"] != "thread.run" and entry.data["status"] != "in_progress"
    )


def end_row(
    run: Run,
    ending: Ending,
    *,
    owner: UUID | None,
    turn: Turn | None = None,
    is_lost: bool = False,
) -> ClaimedRun | None:
    """End a run that no task executes, and start the next queued message.

    Record the usage of `turn`, the run's last task; if the process is lost, record an estimate of
    the model call in progress. Call within a tenant transaction.
    """
    now = clock.now()
    Thread.objects.locked().get(pk=run.thread_id)
    status = ending.status
    if status == RunStatus.CANCELLED and run.status == RunStatus.IN_PROGRESS:
        advance(run.pk, RunStatus.CANCELLING)
    reason, was_queued = ending.reason or "", run.waiting
    totals = transactions.compute_totals(turn) if turn is not None else {}
    fields = {"reason": reason, "ended_at": now, "owner": None, "waiting": False, **totals}
    if not advance(run.pk, status, **fields):
        return None
    if turn is not None:
        insert_many_tables([transactions.build_usage_insert(turn)])
    if is_lost and (totals := meter_lost_call(run, ended=status)):
        Run.objects.filter(pk=run.pk).update(**totals)
    for name, value in totals.items():
        setattr(run, name, value)
    run.status, run.reason, run.ended_at, run.waiting = status, reason, now, False
    if was_queued:
        return None  # it was queued: another run of the thread may be active
    transactions.close_steps(run.pk, ending, now)
    return queue.start_next_queued(run.thread_id, owner=owner)


def list_end_announcements(run: Run) -> tuple[Event, ...]:
    """Return the events of a run that `end_row` ended; call in the same transaction.

    The steps of tool calls that were closed with it come first. The end of a message whose process
    is lost is published by `chat.runs.delivery.lost_messages`.
    """
    assert run.ended_at is not None
    steps = RunStep.objects.filter(run=run, type="tool_calls", ended_at=run.ended_at)
    labels = registry.get_labels()
    events: list[Event] = []
    for step in steps.order_by("index"):
        calls = list(ToolCall.objects.filter(step=step).order_by("index"))
        rendered = wire.step_object(step, run=run, calls=calls, labels=labels)
        events.append((f"thread.run.step.{step.status}", rendered))
    return (*events, (f"thread.run.{run.status}", wire.run_object(run)))


@dataclass(frozen=True, kw_only=True)
class EndedRun:
    """A run that was ended by its row: its events, and the next queued run."""

    told: tuple[Event, ...]
    following: ClaimedRun | None


def build_stop_ending(run: Run) -> Ending:
    """Return the ending of a cancelled run, with the reason stored by the cancellation."""
    return replace(CANCELLED, reason=Reason(run.reason)) if run.reason else CANCELLED


def end_cancelling(claim: Claim, *, turn: Turn | None = None) -> EndedRun | None:
    """End a claimed run that was cancelled between two writes of `turn`; None if it was not."""
    with tenant_scope(claim.tenant_id), transaction.atomic():
        run = _lock_run(claim.run_id)
        if run is None or (run.owner, run.token) != (claim.owner, claim.token):
            return None
        if run.status != RunStatus.CANCELLING:
            return None
        following = end_row(run, build_stop_ending(run), owner=claim.owner, turn=turn)
        return EndedRun(told=list_end_announcements(run), following=following)


def end_unloaded(claim: Claim, ending: Ending) -> EndedRun | None:
    """End a claimed run that was never loaded; None if the claim has lapsed."""
    with tenant_scope(claim.tenant_id), transaction.atomic():
        run = _lock_run(claim.run_id)
        if run is None or (run.owner, run.token) != (claim.owner, claim.token):
            return None
        actual_ending = build_stop_ending(run) if ending.status == RunStatus.CANCELLED else ending
        following = end_row(run, actual_ending, owner=claim.owner)
        return EndedRun(told=list_end_announcements(run), following=following)
