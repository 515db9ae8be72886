"""Worker of a process: execute runs as tasks, send heartbeats, and take over lapsed runs."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from uuid import UUID

import structlog
from django.db import DatabaseError
from django.utils import timezone

from chat.conf import conf
from chat.models.reasons import Reason
from chat.runs.delivery.hub import LiveRun, hub
from chat.runs.delivery.replication import cluster
from chat.runs.delivery.revocation import Connection, find_revoked
from chat.runs.endings import CANCELLED, EXPIRED, Ending, build_failure
from chat.runs.engine import loop
from chat.runs.engine.model_step import close_interrupted_draft
from chat.runs.engine.waiting_runs import waiting_runs
from chat.runs.state import recovery
from chat.runs.state.claims import Claim, ClaimLapsed, pending_claims
from chat.runs.state.turn import ClaimedRun, Turn
from chat.tools.code_sessions import get_code_sessions
from chat.upstream.errors import UpstreamError
from tenants import clock
from tenants.db import (
    DatabasePool,
    in_db,
    is_connection_lost,
    run_in_pool,
    run_with_retry,
    set_pool_tenant,
)
from tenants.outages import log_outage
from tenants.scope import get_scoped_tenant_id

log = structlog.get_logger(__name__)

ACCESS_ENDED = build_failure(Reason.ACCESS_ENDED)
SERVER_ERROR = build_failure(Reason.SERVER_ERROR)
# A quarter of the run slots is added for tenants below their fair share.
EXTRA_ROOM_DIVISOR = 4
HAND_OVER_SECONDS = 5.0


@dataclass(kw_only=True)
class RunTask:
    """A run executed in this process. `stop` is the ending it was cut with; None hands it over."""

    started: ClaimedRun
    turn: Turn | None = None
    task: asyncio.Task[None] | None = None
    begun: bool = False
    stop: Ending | None = None
    stopping: bool = False
    concluding: bool = False
    # Time (time.monotonic) until which the run is suspected of killing its process.
    suspect_until: float = 0.0

    def end(self, ending: Ending | None) -> None:
        """Cancel the run, once, unless its end is already being written."""
        if not self.stopping and not self.concluding and self.task is not None:
            self.stopping, self.stop = True, ending
            # A task cancelled before its first step skips its cleanup; `begin` checks instead.
            if self.begun:
                self.task.cancel()

    def begin(self) -> None:
        """Mark the task as begun.

        Raises:
            CancelledError: the run was cancelled before.
        """
        self.begun = True
        if self.stopping:
            raise asyncio.CancelledError


@dataclass(frozen=True, kw_only=True)
class AbandonedRun:
    """A run whose task ended without updating its row; `failed` if the run caused it."""

    turn: Turn | None
    failed: bool = False


@dataclass(kw_only=True)
class Worker:
    """Executes runs; one per process. `claim_owner` is the owner id of its runs."""

    process_id: UUID = field(default_factory=uuid.uuid4)
    runs: dict[str, RunTask] = field(default_factory=dict)
    watched: set[Connection] = field(default_factory=set)
    draining: bool = False
    # False in a process that ends with its last job.
    is_long_lived: bool = False
    event_loop: asyncio.AbstractEventLoop | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    # Runs whose task ended without updating the row, and that are not released yet.
    _abandoned: dict[Claim, AbandonedRun] = field(default_factory=dict)
    # Runs owned by this process at the last check that were not executing here.
    _unattended: set[tuple[str, UUID]] = field(default_factory=set)
    _draining: asyncio.Task[None] | None = None
    _recovery_wanted: asyncio.Event = field(default_factory=asyncio.Event)
    _last_heartbeat: float = 0.0  # in seconds of time.monotonic

    @property
    def claim_owner(self) -> UUID | None:
        """Owner id for a new run of the tenant in scope; None while the process is full."""
        return self.get_owner_for(get_scoped_tenant_id())

    def get_owner_for(self, tenant_id: UUID | None) -> UUID | None:
        """Return the owner id for a tenant's run, None while this process accepts none."""
        if self.event_loop is None or self.draining or self.is_full_for(tenant_id):
            return None
        return self.process_id

    @property
    def is_full(self) -> bool:
        """True while the process executes the maximum number of runs, not counting waiting ones."""
        return bool(len(self.runs) - len(waiting_runs) >= conf.max_runs)

    def is_full_for(self, tenant_id: UUID | None) -> bool:
        """Return whether the process has no capacity for a tenant's run; thread-safe.

        Tenants below an equal share of the capacity may together exceed the limit by a quarter,
        so that the runs of other tenants do not block them.
        """
        if not self.is_full:
            return False
        room = conf.max_runs
        busy = [run for run_id, run in list(self.runs.items()) if run_id not in waiting_runs]
        if tenant_id is None or len(busy) >= room + room // EXTRA_ROOM_DIVISOR:
            return True
        counts = Counter(run.started.claim.tenant_id for run in busy)
        share: float = room / len({*counts, tenant_id})
        return counts[tenant_id] >= share

    async def start(self) -> None:
        """Register the process and start heartbeats, access checks and recovery."""
        self.event_loop = pending_claims.loop = asyncio.get_running_loop()
        self.draining, self._recovery_wanted = False, asyncio.Event()
        waiting_runs.is_full_for = self.is_full_for
        await self._send_heartbeat()
        cluster.start(self.process_id, look=self._watch)
        for period, work, sooner in (
            (conf.heartbeat_seconds, self._send_heartbeat, None),
            (conf.watch_seconds, self._watch, None),
            (conf.watch_seconds, get_code_sessions().close_stale, None),
            (conf.heartbeat_seconds, self.recover, self._recovery_wanted),
        ):
            self._tasks.append(asyncio.create_task(self._repeat(period, work, sooner)))

    def begin_drain(self) -> None:
        """Stop accepting runs, and start to hand over those in progress."""
        if self._draining is None:
            self.draining = True
            self._draining = asyncio.create_task(self._hand_over())

    async def drain(self) -> None:
        """Stop accepting runs, wait up to `drain_seconds`, hand over the rest, and deregister."""
        self.begin_drain()
        assert self._draining is not None
        await self._draining
        self._draining = None
        await cluster.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        try:
            # In the pool of the heartbeats, so that no heartbeat follows it.
            await run_in_pool(DatabasePool.WATCH, recovery.deregister, self.process_id)
        except DatabaseError as error:
            # If the database is unreachable, the heartbeat lapses anyway.
            if not log_outage(error, work="deregister"):
                log.exception("worker_deregistration_failed")
        self.event_loop = None

    async def _hand_over(self) -> None:
        tasks = [run.task for run in self.runs.values() if run.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=conf.drain_seconds)
        for run in list(self.runs.values()):
            run.end(None)
        remaining = [run.task for run in self.runs.values() if run.task is not None]
        if remaining:
            await asyncio.wait(remaining, timeout=HAND_OVER_SECONDS)

    async def wait_until_finished(self, run_id: str) -> None:
        """Wait until a run that is executing in this process has ended."""
        run = self.runs.get(run_id)
        if run is not None and run.task is not None:
            await asyncio.wait({run.task})

    def submit(self, started: ClaimedRun) -> None:
        """Execute a run claimed for this process; thread-safe."""
        if self.event_loop is not None:
            self.event_loop.call_soon_threadsafe(self._begin, started)

    def end_run(
        self, run_id: str, ending: Ending = CANCELLED, *, owner: UUID | None = None
    ) -> None:
        """Cancel a run that executes here, or ask its `owner` to check the row; thread-safe."""
        if self.event_loop is None:
            return
        if owner in (None, self.process_id):
            self.event_loop.call_soon_threadsafe(self._end, run_id, ending)
        else:
            self.event_loop.call_soon_threadsafe(cluster.request_check, owner)

    def notify(self, tenant_id: UUID, thread_id: str, event: str, data: dict[str, Any]) -> None:
        """Notify a thread's readers in this process; thread-safe."""
        if self.event_loop is not None:
            self.event_loop.call_soon_threadsafe(hub.notify, tenant_id, thread_id, event, data)

    def _begin(self, started: ClaimedRun) -> None:
        run = RunTask(started=started)
        self.runs[started.claim.run_id] = run
        pending_claims.discard(started.claim)
        run.task = asyncio.create_task(self._execute(run))

    def _end(self, run_id: str, ending: Ending) -> None:
        run = self.runs.get(run_id)
        if run is not None:
            run.end(ending)

    async def _execute(self, run: RunTask) -> None:
        started = run.started
        claim = started.claim
        set_pool_tenant(claim.tenant_id)
        structlog.contextvars.bind_contextvars(run_id=claim.run_id, tenant_id=str(claim.tenant_id))
        live = LiveRun(claim.tenant_id, started.thread_id, claim.run_id, state=started.state)
        for event, data in started.announce:
            live.publish(event, data)
        if claim.token > 1:
            live.end_lost()
        following = None
        timer = asyncio.get_running_loop().call_later(
            max(0.0, started.seconds_left), run.end, EXPIRED
        )
        concluded = False
        try:
            following = await self._execute_live(run, live)
            concluded = True
        except ClaimLapsed:
            log.warning("claim_lapsed")
        except asyncio.CancelledError:
            log.info("run_handed_over")
            self._abandoned[claim] = AbandonedRun(turn=run.turn)
        except Exception as error:
            log.exception("run_conclusion_failed")
            if run.turn is not None:
                run.turn.record_interrupted_call(None)
            lost = isinstance(error, DatabaseError) and is_connection_lost(error)
            self._abandoned[claim] = AbandonedRun(turn=run.turn, failed=not lost)
        finally:
            timer.cancel()
            if self.is_full or run.suspect_until:
                self._recovery_wanted.set()  # other runs may have waited for a free slot
            if self.runs.get(claim.run_id) is run:
                del self.runs[claim.run_id]
            waiting_runs.resume_held()
            live.end()
            if not concluded:
                # Readers of this process continue with the events of the next owner.
                cluster.replicate_released(live.channel, claim.run_id)
        if claim in self._abandoned:
            await self._release_run(claim)
        if following is not None:
            self._begin(following)

    async def _execute_live(self, run: RunTask, live: LiveRun) -> ClaimedRun | None:
        turn: Turn | None = None
        try:
            run.begin()
            turn = run.turn = await loop.begin(run.started, live)
            structlog.contextvars.bind_contextvars(membership_id=str(turn.run.member_id))
            ending = await loop.run_rounds(turn)
        except asyncio.CancelledError:
            if run.stop is None:
                if turn is not None:
                    turn.record_interrupted_call(None)
                    # Store the text that readers have seen before another process continues.
                    await close_interrupted_draft(turn)
                raise
            ending = run.stop
        except UpstreamError as error:
            log.warning("upstream_failed", **loop.get_log_fields(error))
            ending = loop.build_error_ending(error)
        except ClaimLapsed:
            return await self._end_cancelling(run, live)
        except DatabaseError:
            raise
        except Exception:
            log.exception("run_failed")
            ending = SERVER_ERROR
        if ending is None or loop.is_waiting(turn):
            return None
        run.concluding = True
        if turn is None:
            ended = await run_with_retry(recovery.end_unloaded, run.started.claim, ending)
            if ended is None:
                return None
            for event, data in ended.told:
                live.publish(event, data)
            return ended.following
        following = await loop.conclude(turn, ending)
        log.info("run_ended", status=turn.run.status, reason=turn.run.reason, rounds=turn.rounds)
        return following

    async def _end_cancelling(self, run: RunTask, live: LiveRun) -> ClaimedRun | None:
        """End a run whose write was rejected because the run is being cancelled.

        Raises:
            ClaimLapsed: the write was rejected because another process has the run.
        """
        run.concluding = True
        if run.turn is not None:
            run.turn.record_interrupted_call(CANCELLED.status)
        ended = await run_with_retry(recovery.end_cancelling, run.started.claim, turn=run.turn)
        if ended is None:
            raise ClaimLapsed(run.started.claim.run_id)
        for event, data in ended.told:
            live.publish(event, data)
        return ended.following

    async def _repeat(
        self, period: float, work: Callable[[], Awaitable[None]], sooner: asyncio.Event | None
    ) -> None:
        while True:
            try:
                await work()
            except Exception as error:
                # The database may be unreachable for a moment; retried after `period`.
                if not log_outage(error, work=work.__name__):
                    log.exception("worker_task_failed", work=work.__name__)
            if sooner is None:
                await asyncio.sleep(period)
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(sooner.wait(), period)
            sooner.clear()

    async def _send_heartbeat(self) -> None:
        before = timezone.now()
        beat_at = await run_in_pool(DatabasePool.WATCH, recovery.heartbeat, self.process_id)
        clock.update_offset(before, beat_at, timezone.now())
        self._last_heartbeat = monotonic()

    async def _release_run(self, claim: Claim) -> None:
        """Release an abandoned run, so that any process can take it over at once.

        While its row names a live process, no other process takes it over. If this fails, it is
        retried by the next `recover`.
        """
        try:
            abandoned = self._abandoned[claim]
            await in_db(recovery.release, claim, failed=abandoned.failed, turn=abandoned.turn)
        except DatabaseError as error:
            if not log_outage(error, work="release"):
                log.exception("run_release_failed")
        else:
            self._abandoned.pop(claim, None)

    async def recover(self) -> None:
        """Release runs that were abandoned here, and take over lapsed ones."""
        for claim in list(self._abandoned):
            await self._release_run(claim)
        if self.draining:
            return
        await self._reclaim_unattended()
        found = await in_db(recovery.list_lapsed_runs)
        while await self._take_over_all(found) and len(found) == recovery.TAKE_OVER_BATCH:
            found = await in_db(recovery.list_lapsed_runs)

    async def _reclaim_unattended(self) -> None:
        """Execute runs that are owned by this process but not executing, at the second check.

        Their claim was committed, but the connection broke before the commit was confirmed. At
        the first check their task may be about to start.
        """
        found = await in_db(
            recovery.list_unattended_runs, self.process_id, known=self._list_known_runs()
        )
        # Runs claimed during the query are known by now.
        known = self._list_known_runs()
        found = {(run_id, tenant_id) for run_id, tenant_id in found if run_id not in known}
        for run_id, tenant_id in found & self._unattended:
            if run_id in self._list_known_runs():
                continue
            log.warning("unattended_run_found", run_id=run_id)
            started = await in_db(recovery.reclaim, tenant_id, run_id, owner=self.process_id)
            if started is not None:
                self._begin(started)
        self._unattended = found - self._unattended

    def _list_known_runs(self) -> set[str]:
        """Return the ids of runs owned by this process: executing, abandoned or about to start."""
        abandoned = {claim.run_id for claim in self._abandoned}
        return {*self.runs, *abandoned, *pending_claims.list_run_ids(self.process_id)}

    async def _take_over_all(self, found: Iterable[tuple[str, UUID]]) -> bool:
        """Take over the runs that can be, and return whether any was.

        For a tenant without capacity here only one run is tried, which may be overdue.
        """
        any_taken, full_for = False, set[UUID]()
        for run_id, tenant_id in found:
            if tenant_id in full_for:
                continue
            if await self._try_take_over(run_id, tenant_id):
                any_taken = True
            elif self.get_owner_for(tenant_id) is None:
                full_for.add(tenant_id)
        return any_taken

    async def _try_take_over(self, run_id: str, tenant_id: UUID) -> bool:
        try:
            return await self.take_over(tenant_id, run_id)
        except Exception:
            # One run with broken rows must not block the others.
            log.exception("run_takeover_failed", run_id=run_id)
            return False

    async def take_over(self, tenant_id: UUID, run_id: str) -> bool:
        """Execute or end one lapsed run, and return whether that was done.

        A run that can continue waits while this process is full, and a suspect while another
        suspect is on trial: a run that kills its process takes few others with it.
        """
        # A run that executes here is not lost, however late our heartbeat is.
        if run_id in self.runs or run_id in pending_claims.list_run_ids(self.process_id):
            return False
        now = monotonic()
        if now - self._last_heartbeat > conf.lapse_seconds / 2:
            # After a pause of this process, others would take over what it claims.
            await self._send_heartbeat()
        on_trial = any(run.suspect_until > now for run in self.runs.values())
        result = await in_db(
            recovery.take_over,
            tenant_id,
            run_id,
            owner=self.get_owner_for(tenant_id),
            suspects=not on_trial,
        )
        if result is None:
            return False
        for event, data in result.ended:
            hub.notify(result.tenant_id, result.thread_id, event, data)
        if result.started is not None:
            self._begin(result.started)
            if result.suspect:
                self.runs[run_id].suspect_until = now + conf.lapse_seconds
        return True

    async def _watch(self) -> None:
        """Close connections and end runs whose access was revoked or that were cancelled."""
        if not self.watched and not self.runs:
            return
        watched = list(self.watched)
        ended = await run_in_pool(
            DatabasePool.WATCH,
            find_revoked,
            memberships={w.membership for w in watched if w.membership},
            keys={w.key for w in watched if w.key},
            sign_ins={w.sign_in for w in watched if w.sign_in},
            runs=set(self.runs),
        )
        for item in watched:
            if ended.applies_to(item):
                item.close()
        for run_id in ended.revoked:
            self._end(run_id, ACCESS_ENDED)
        for run_id in ended.cancelled:
            self._end(run_id, CANCELLED)

    def watch(self, watched: Connection) -> Callable[[], None]:
        """Close a connection when its access ends; return a function that stops watching it."""
        self.watched.add(watched)
        return lambda: self.watched.discard(watched)


worker = Worker()
