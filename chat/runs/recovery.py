"""Heartbeats, take-over of lapsed runs, and what revocation ends: the worker's database side."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone

from chat import wire
from chat.conf import conf
from chat.models import Message, Process, Run, RunStatus, RunStep, StepStatus, Thread
from chat.models.reasons import Reason
from chat.runs import records
from chat.runs.claims import Claim
from chat.runs.lifecycle import advance
from chat.runs.turn import CANCELLED, EXPIRED, Ending, Started, failed
from tenants.db import call_door
from tenants.scope import tenant_scope

log = structlog.get_logger(__name__)

TAKE_OVER_AT_ONCE = 20
KEEP_DEAD_PROCESSES = timedelta(hours=1)


def beat(process_id: UUID) -> None:
    """Write this process's heartbeat, and forget processes that are long dead."""
    now = timezone.now()
    Process.objects.update_or_create(id=process_id, defaults={"beat_at": now})
    Process.objects.filter(beat_at__lt=now - KEEP_DEAD_PROCESSES).delete()


def leave(process_id: UUID) -> None:
    """Remove this process: what it still owned is lapsed from now on."""
    Process.objects.filter(id=process_id).delete()


def release(claim: Claim) -> None:
    """Give a run back, for another process to take over at once."""
    with tenant_scope(claim.tenant_id), transaction.atomic():
        Run.objects.active().filter(pk=claim.run_id, owner=claim.owner, token=claim.token).update(
            owner=None
        )


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What became of a lapsed run: claimed (`started`), or ended, with the next one started.

    `ended` is the wire object its readers are told.
    """

    tenant_id: UUID
    thread_id: str
    started: Started | None
    ended: dict[str, Any] | None = None


def take_over_lapsed(process_id: UUID, executing: Collection[str]) -> list[Taken]:
    """Claim or end the runs that nobody executes any more.

    Runs under way in this process (`executing`) are not lost, however late its heartbeat is.
    """
    found = []
    for run_id, tenant_id in call_door("lapsed_runs", conf.lapse_seconds, TAKE_OVER_AT_ONCE):
        if run_id in executing:
            continue
        with tenant_scope(tenant_id):
            taken = take_over(run_id, process_id)
        if taken is not None:
            found.append(taken)
    return found


def take_over(run_id: str, process_id: UUID) -> Taken | None:
    """Claim one lapsed run for this process, or end it where it has no future.

    Must run in the tenant's scope. None when it is not lapsed any more.
    """
    with transaction.atomic():
        run = _locked(run_id)
        if run is None or not _is_lapsed(run):
            return None
        ending = _ending_of_lapsed(run)
        if ending is not None:
            following = end_row(run, ending, owner=process_id)
            return Taken(
                tenant_id=run.tenant_id,
                thread_id=run.thread_id,
                started=following,
                ended=wire.run_object(run),
            )
        _close_interrupted_step(run)
        run.owner, run.token = process_id, run.token + 1
        # A run that nobody had begun is no sign of one that kills its process.
        run.takeovers += 1 if run.started_at else 0
        # Readers may have been told more state numbers than were stored.
        run.state += 1000
        run.save(update_fields=["owner", "token", "takeovers", "state"])
        log.warning("run_taken_over", run_id=run.pk, takeovers=run.takeovers)
        started = Started(
            claim=Claim.of(run),
            thread_id=run.thread_id,
            state=run.state,
            seconds_left=(run.expires_at - timezone.now()).total_seconds(),
        )
        return Taken(tenant_id=run.tenant_id, thread_id=run.thread_id, started=started)


def _locked(run_id: str) -> Run | None:
    """Lock thread, then run: the order everybody locks in."""
    thread_id = Run.objects.filter(pk=run_id).values_list("thread_id", flat=True).first()
    if thread_id is None:
        return None
    Thread.objects.locked().filter(pk=thread_id).first()
    found: Run | None = (
        Run.objects.active()
        .select_related("thread", "assistant")
        .select_for_update(of=("self",), no_key=True)
        .filter(pk=run_id)
        .first()
    )
    return found


def _is_lapsed(run: Run) -> bool:
    now = timezone.now()
    if run.expires_at < now:
        return True
    if run.status == RunStatus.REQUIRES_ACTION:
        return False
    alive_since = now - timedelta(seconds=conf.lapse_seconds)
    if run.owner is None:
        return True
    return not Process.objects.filter(id=run.owner, beat_at__gte=alive_since).exists()


def _ending_of_lapsed(run: Run) -> Ending | None:
    if run.status == RunStatus.CANCELLING or run.thread.deleted_at is not None:
        return CANCELLED
    if run.expires_at < timezone.now():
        if run.status == RunStatus.REQUIRES_ACTION:
            return Ending(
                status=RunStatus.EXPIRED,
                reason=Reason.APPROVAL_EXPIRED,
                message_reason="run_expired",
            )
        return EXPIRED
    if run.takeovers >= conf.max_takeovers:
        return failed(Reason.POISON)
    return None


def _close_interrupted_step(run: Run) -> None:
    """The interrupted model step is repeated as a new one; its text leaves the prompt."""
    now = timezone.now()
    RunStep.objects.filter(run=run, type="message_creation", status=StepStatus.IN_PROGRESS).update(
        status=StepStatus.FAILED, ended_at=now
    )
    Message.objects.filter(run_ref=run.pk, status="in_progress").update(
        status="incomplete", incomplete_reason="run_failed", incomplete_at=now
    )


def end_row(run: Run, ending: Ending, *, owner: UUID | None) -> Started | None:
    """End a run that no task executes, and start the next queued message.

    Must run in the tenant's scope and a transaction.
    """
    now = timezone.now()
    Thread.objects.locked().get(pk=run.thread_id)
    status = ending.status
    if status == RunStatus.CANCELLED and run.status == RunStatus.IN_PROGRESS:
        advance(run.pk, RunStatus.CANCELLING)
    if not advance(run.pk, status, reason=ending.reason or "", ended_at=now, owner=None):
        return None
    run.status, run.reason, run.ended_at = status, ending.reason or "", now
    records.close_steps(run.pk, ending, now)
    return records.start_next_queued(run.thread_id, owner=owner)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run that was ended by its row: what readers are told, and the next queued run."""

    rendered: dict[str, Any]
    following: Started | None


def end_unloaded(claim: Claim, ending: Ending) -> Ended | None:
    """End a claimed run whose execution never got as far as loading it."""
    with tenant_scope(claim.tenant_id), transaction.atomic():
        run = (
            Run.objects.active()
            .select_related("assistant")
            .filter(pk=claim.run_id, owner=claim.owner, token=claim.token)
            .first()
        )
        if run is None:
            return None
        following = end_row(run, ending, owner=claim.owner)
        return Ended(rendered=wire.run_object(run), following=following)


@dataclass(frozen=True, kw_only=True)
class Over:
    """What of the things asked about has ended."""

    memberships: frozenset[UUID] = frozenset()
    keys: frozenset[UUID] = frozenset()
    sign_ins: frozenset[str] = frozenset()
    cancelled: frozenset[str] = frozenset()
    revoked: frozenset[str] = frozenset()
    signed_out: dict[UUID, datetime] = field(default_factory=dict)

    def closes(
        self, membership: UUID | None, key: UUID | None, sign_in: str | None, since: datetime
    ) -> bool:
        """Tell whether access that began at `since` with these credentials is over."""
        if membership in self.memberships or key in self.keys or sign_in in self.sign_ins:
            return True
        out = self.signed_out.get(membership) if membership and key is None else None
        return out is not None and out > since


def what_is_over(
    *,
    memberships: Collection[UUID],
    keys: Collection[UUID],
    sign_ins: Collection[str],
    runs: Collection[str],
) -> Over:
    """Ask, in one door call, which of these have ended."""
    rows = call_door("watch", list(memberships), list(keys), list(sign_ins), list(runs))
    ids: dict[str, set[str]] = {
        "membership": set(),
        "key": set(),
        "sign_in": set(),
        "cancel": set(),
        "revoked": set(),
    }
    signed_out = {}
    for kind, one, at in rows:
        if kind == "signed_out":
            signed_out[UUID(one)] = at
        else:
            ids[kind].add(one)
    return Over(
        memberships=frozenset(map(UUID, ids["membership"])),
        keys=frozenset(map(UUID, ids["key"])),
        sign_ins=frozenset(ids["sign_in"]),
        cancelled=frozenset(ids["cancel"]),
        revoked=frozenset(ids["revoked"]),
        signed_out=signed_out,
    )
