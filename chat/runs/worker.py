"""The process's worker: executes runs as tasks, beats, watches, and takes over what was lost."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.db import DatabaseError

from chat.conf import conf
from chat.models.reasons import Reason
from chat.runs import loop, recovery
from chat.runs.claims import Claim, ClaimLapsed
from chat.runs.forwarding import elsewhere
from chat.runs.live import LiveRun, hub
from chat.runs.turn import CANCELLED, EXPIRED, Ending, Started, Turn, failed
from chat.upstream.errors import UpstreamError
from tenants.db import Lane, in_db, in_lane

log = structlog.get_logger(__name__)

ACCESS_ENDED = failed(Reason.ACCESS_ENDED)
SERVER_ERROR = failed(Reason.SERVER_ERROR)


@dataclass(kw_only=True)
class RunTask:
    """A run under way here. `stop` says how it is to end; None hands it over."""

    started: Started
    task: asyncio.Task[None] | None = None
    begun: bool = False
    stop: Ending | None = None
    stopping: bool = False
    concluding: bool = False

    def end(self, ending: Ending | None) -> None:
        """Cut the run short, once, unless its end is being written already."""
        if not self.stopping and not self.concluding and self.task is not None:
            self.stopping, self.stop = True, ending
            # A task cancelled before its first step would not even tidy up: it looks itself.
            if self.begun:
                self.task.cancel()

    def begin(self) -> None:
        """Note that the task has begun.

        Raises:
            CancelledError: when the run was cut short before.
        """
        self.begun = True
        if self.stopping:
            raise asyncio.CancelledError


@dataclass(frozen=True, kw_only=True, eq=False)
class Watched:
    """Something open that revocation closes: a socket or a stream."""

    membership: UUID | None
    key: UUID | None
    sign_in: str | None
    since: datetime
    close: Callable[[], None]


@dataclass(kw_only=True)
class Worker:
    """One per process. `claim_owner` is the id that runs name as their owner."""

    process_id: UUID = field(default_factory=uuid.uuid4)
    runs: dict[str, RunTask] = field(default_factory=dict)
    watched: set[Watched] = field(default_factory=set)
    draining: bool = False
    # A server goes on between jobs; a worker process ends with its last one.
    in_server: bool = False
    event_loop: asyncio.AbstractEventLoop | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    # What ended here without a word in its row, and could not be given back yet.
    _abandoned: set[Claim] = field(default_factory=set)

    @property
    def claim_owner(self) -> UUID | None:
        """The id to claim a new run with; None while this process can take no more."""
        if self.event_loop is None or self.draining or len(self.runs) >= conf.max_runs:
            return None
        return self.process_id

    async def start(self) -> None:
        """Register the process and begin to beat, watch and recover."""
        self.event_loop = asyncio.get_running_loop()
        self.draining = False
        await in_db(recovery.beat, self.process_id)
        elsewhere.start(self.process_id, look=self._watch)
        for period, work in (
            (conf.heartbeat_seconds, self._beat),
            (conf.watch_seconds, self._watch),
            (conf.heartbeat_seconds, self.recover),
        ):
            self._tasks.append(asyncio.create_task(self._repeat(period, work)))

    async def drain(self) -> None:
        """Take no more runs, give those under way some time, then hand them over."""
        self.draining = True
        tasks = [run.task for run in self.runs.values() if run.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=conf.drain_seconds)
        for run in list(self.runs.values()):
            run.end(None)
        left = [run.task for run in self.runs.values() if run.task is not None]
        if left:
            await asyncio.wait(left, timeout=conf.drain_seconds)
        await elsewhere.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        try:
            # In the lane of the heartbeats, so that none comes after it.
            await in_lane(Lane.WATCH, recovery.leave, self.process_id)
        except DatabaseError:
            # Without a database to tell, the heartbeat lapses by itself.
            log.exception("worker_left_untold")
        self.event_loop = None

    async def finished(self, run_id: str) -> None:
        """Wait until a run that is under way here has ended."""
        run = self.runs.get(run_id)
        if run is not None and run.task is not None:
            await asyncio.wait({run.task})

    def submit(self, started: Started) -> None:
        """Execute a run claimed for this process; callable from any thread."""
        if self.event_loop is not None:
            self.event_loop.call_soon_threadsafe(self._begin, started)

    def end_run(
        self, run_id: str, ending: Ending = CANCELLED, *, owner: UUID | None = None
    ) -> None:
        """Cut a run short if it is under way here, or have its `owner` look at its row.

        Callable from any thread.
        """
        if self.event_loop is None:
            return
        if owner in (None, self.process_id):
            self.event_loop.call_soon_threadsafe(self._end, run_id, ending)
        else:
            self.event_loop.call_soon_threadsafe(elsewhere.ask_to_look, owner)

    def notify(self, tenant_id: UUID, thread_id: str, event: str, data: dict[str, Any]) -> None:
        """Tell a thread's readers in this process; callable from any thread."""
        if self.event_loop is not None:
            self.event_loop.call_soon_threadsafe(hub.notify, tenant_id, thread_id, event, data)

    def _begin(self, started: Started) -> None:
        run = RunTask(started=started)
        self.runs[started.claim.run_id] = run
        run.task = asyncio.create_task(self._execute(run))

    def _end(self, run_id: str, ending: Ending) -> None:
        run = self.runs.get(run_id)
        if run is not None:
            run.end(ending)

    async def _execute(self, run: RunTask) -> None:
        started = run.started
        claim = started.claim
        structlog.contextvars.bind_contextvars(run_id=claim.run_id, tenant_id=str(claim.tenant_id))
        live = LiveRun(claim.tenant_id, started.thread_id, claim.run_id, state=started.state)
        for event, data in started.announce:
            live.publish(event, data)
        following = None
        timer = asyncio.get_running_loop().call_later(
            max(0.0, started.seconds_left), run.end, EXPIRED
        )
        try:
            following = await self._execute_live(run, live)
        except ClaimLapsed:
            log.warning("claim_lapsed")
        except asyncio.CancelledError:
            log.info("run_handed_over")
            self._abandoned.add(claim)
        except Exception:
            log.exception("run_not_concluded")
            self._abandoned.add(claim)
        finally:
            timer.cancel()
            if self.runs.get(claim.run_id) is run:
                del self.runs[claim.run_id]
            live.end()
        if claim in self._abandoned:
            await self._give_back(claim)
        if following is not None:
            self._begin(following)

    async def _execute_live(self, run: RunTask, live: LiveRun) -> Started | None:
        turn: Turn | None = None
        try:
            run.begin()
            turn = await loop.begin(run.started, live)
            structlog.contextvars.bind_contextvars(membership_id=str(turn.run.member_id))
            ending = await loop.rounds(turn)
        except asyncio.CancelledError:
            if run.stop is None:
                raise
            ending = run.stop
        except UpstreamError as error:
            log.warning("upstream_failed", **loop.loggable(error))
            ending = loop.ending_of_error(error)
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
            ended = await in_db(recovery.end_unloaded, run.started.claim, ending)
            if ended is None:
                return None
            live.publish(f"thread.run.{ending.status}", ended.rendered)
            return ended.following
        following = await loop.conclude(turn, ending)
        log.info("run_ended", status=turn.run.status, reason=turn.run.reason, rounds=turn.rounds)
        return following

    async def _end_cancelling(self, run: RunTask, live: LiveRun) -> Started | None:
        """End a run whose write was refused because it is to stop.

        Raises:
            ClaimLapsed: when it was refused because another process has the run.
        """
        run.concluding = True
        ended = await in_db(recovery.end_cancelling, run.started.claim)
        if ended is None:
            raise ClaimLapsed(run.started.claim.run_id)
        live.publish("thread.run.cancelled", ended.rendered)
        return ended.following

    async def _repeat(self, period: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception:
                # The database may be away for a moment: the next beat tries again.
                log.exception("worker_beat_failed", work=work.__name__)
            await asyncio.sleep(period)

    async def _beat(self) -> None:
        await in_lane(Lane.WATCH, recovery.beat, self.process_id)

    async def _give_back(self, claim: Claim) -> None:
        """Let another process take the run at once, or this one at its next look.

        While the row names a living process, nobody else would.
        """
        try:
            await in_db(recovery.release, claim)
        except DatabaseError:
            log.exception("run_not_given_back")
        else:
            self._abandoned.discard(claim)

    async def recover(self) -> None:
        """Give back what could not be concluded here, and take over what nobody executes."""
        for claim in list(self._abandoned):
            await self._give_back(claim)
        if self.draining:
            return
        for run_id, tenant_id in await in_db(recovery.lapsed_runs):
            # One under way here is not lost, however late our heartbeat is.
            if run_id not in self.runs:
                await self.take_over(tenant_id, run_id)

    async def take_over(self, tenant_id: UUID, run_id: str) -> None:
        """Execute or end one lapsed run; one that can go on waits while there is no room here."""
        taken = await in_db(recovery.take_over, tenant_id, run_id, owner=self.claim_owner)
        if taken is None:
            return
        if taken.ended is not None:
            event = f"thread.run.{taken.ended['status']}"
            hub.notify(taken.tenant_id, taken.thread_id, event, taken.ended)
        if taken.started is not None and taken.started.claim.run_id not in self.runs:
            self._begin(taken.started)

    async def _watch(self) -> None:
        """Ask once what of all that is open here is over, and close it."""
        if not self.watched and not self.runs:
            return
        watched = list(self.watched)
        gone = await in_lane(
            Lane.WATCH,
            recovery.what_is_over,
            memberships={w.membership for w in watched if w.membership},
            keys={w.key for w in watched if w.key},
            sign_ins={w.sign_in for w in watched if w.sign_in},
            runs=set(self.runs),
        )
        for one in watched:
            if gone.closes(one.membership, one.key, one.sign_in, one.since):
                one.close()
        for run_id in gone.revoked:
            self._end(run_id, ACCESS_ENDED)
        for run_id in gone.cancelled:
            self._end(run_id, CANCELLED)

    def watch(self, watched: Watched) -> Callable[[], None]:
        """Have `watched` closed when its access ends; call the result to stop watching."""
        self.watched.add(watched)
        return lambda: self.watched.discard(watched)


worker = Worker()
