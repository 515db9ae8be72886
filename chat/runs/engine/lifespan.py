"""Start-up and shutdown of a server process: the worker and the job queue."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
from asyncio import Task
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
import structlog
from django.conf import settings
from django.db import DatabaseError, transaction
from procrastinate import PsycopgConnector
from procrastinate.contrib.django import app as job_app
from procrastinate.contrib.django.utils import connector_params
from procrastinate.exceptions import ProcrastinateException
from procrastinate.jobs import DEFAULT_QUEUE

from chat.conf import conf
from chat.runs import upstreams
from chat.runs.engine.worker import worker
from chat.runs.state import recovery
from chat.tools.code_sessions import get_code_sessions
from chat.upstream.errors import UpstreamError
from tenants.compiled_queries import compile_queries
from tenants.db import in_db
from tenants.process_identity import get_identity

log = structlog.get_logger(__name__)

SWITCH_INTERVAL_SECONDS = 0.0005  # thread switch interval; Python's default is 0.005
GC_THRESHOLD = 10_000  # new objects before a collection; Python's default is 700
QUEUE_RESTART_SECONDS = 5.0  # seconds before a job worker is restarted
START_ERRORS = (DatabaseError, UpstreamError, OSError, ValueError)
JOB_RETENTION = {"delete_jobs": "successful"}  # failed jobs are kept for operators
# Files take minutes to index, so they have a separate pool of `conf.index_slots` jobs.
FILES_QUEUE = "files"
# Options of job workers inside a server process, which mainly serves requests.
SERVER_WORKER_OPTIONS: dict[str, Any] = {"concurrency": 4, "shutdown_graceful_timeout": 5}
# Database connections of each job pool, in addition to the one that listens.
MIN_CONNECTIONS, MAX_CONNECTIONS = 1, 4
# Limit for stopping the job queue of a server, shortly after its jobs were aborted.
QUEUE_STOP_SECONDS = 7.0
# Errors of the job queue while its database is unreachable. A pool that cannot be opened in time
# raises psycopg's own error.
QUEUE_ERRORS = (ProcrastinateException, psycopg.Error, OSError)


class Lifespan:
    """ASGI application of the `lifespan` scope."""

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Start the process on start-up and drain it on shutdown."""
        await receive()
        async with AsyncExitStack() as stack:
            try:
                jobs = partial(run_jobs, **SERVER_WORKER_OPTIONS)
                process = await stack.enter_async_context(
                    serving(jobs, end_seconds=QUEUE_STOP_SECONDS)
                )
                stack.enter_context(at_termination(process.begin_drain))
            except START_ERRORS as error:
                log.exception("start_failed")
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


@dataclass(frozen=True, kw_only=True)
class ServingProcess:
    """Running services of this process; `jobs` is the task of the job queue."""

    jobs: Task[None]

    def begin_drain(self) -> None:
        """Stop accepting jobs and runs, and start to hand over; does not wait for the tasks."""
        # First, so that this process does not pick up what it releases for others.
        self.jobs.cancel()
        worker.begin_drain()


@contextmanager
def at_termination(callback: Callable[[], None]) -> Iterator[None]:
    """Run `callback` in the event loop as soon as SIGINT or SIGTERM arrives.

    Needed because the server waits for open connections before it ends the lifespan.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, handlers = asyncio.get_running_loop(), {}
    for number in (signal.SIGINT, signal.SIGTERM):
        previous = signal.getsignal(number)
        if callable(previous):  # the server's handler; without one, the default stays
            handlers[number] = previous

    def begin(number: int, frame: Any) -> None:
        loop.call_soon_threadsafe(callback)
        handlers[signal.Signals(number)](number, frame)

    for number in handlers:
        signal.signal(number, begin)
    try:
        yield
    finally:
        for number, previous in handlers.items():
            signal.signal(number, previous)


@asynccontextmanager
async def serving(
    queue: Callable[[], Coroutine[Any, Any, None]], *, end_seconds: float | None = None
) -> AsyncIterator[ServingProcess]:
    """Execute runs, and jobs with `queue`, while the context is open; hand over on exit.

    Wait at most `end_seconds` for the queue to end, then leave it unfinished: without a database
    it takes half a minute to report its end.
    """
    await adopt_identity()
    await upstreams.warm_up()
    await worker.start()
    await warm_up_database()
    tune_interpreter()
    process = ServingProcess(jobs=asyncio.create_task(queue()))
    try:
        yield process
    finally:
        process.begin_drain()
        await asyncio.gather(worker.drain(), asyncio.wait({process.jobs}, timeout=end_seconds))
        await get_code_sessions().close_all()
        await upstreams.close_all()


async def adopt_identity() -> None:
    """Use the process id assigned by the supervisor, and free the claims of dead predecessors."""
    identity = get_identity()
    if identity.process_id is not None:
        worker.process_id = identity.process_id
    if identity.predecessors:
        await in_db(recovery.free_claims, identity.predecessors)


async def warm_up_database() -> None:
    """Open a connection per database thread, and compile the queries of every turn."""
    connections = (in_db(connect) for _thread in range(settings.DATABASE_THREADS - 1))
    await asyncio.gather(in_db(compile_queries), *connections)


@transaction.atomic
def connect() -> None:
    """Open this thread's connection."""


def tune_interpreter() -> None:
    """Tune the GC and the thread switch interval to keep event-loop latency low.

    Every pause of the event loop delays tokens. Computing threads yield sooner. Collections are
    rarer and skip the imported modules: half a million objects that live as long as the process.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


async def run_jobs(*, queues: Iterable[str] | None = None, **options: Any) -> None:
    """Execute jobs until cancelled; survives database outages.

    The arguments are those of `run_workers`.
    """
    worker.is_long_lived = True
    async with asyncio.TaskGroup() as pools:
        for pool in list_pools(queues, options):
            pools.create_task(run_pool_until_cancelled(pool))


async def run_pool_until_cancelled(pool: dict[str, Any]) -> None:
    """Run a pool's worker until cancelled, and restart it whenever it ends.

    When its database is unreachable, a worker ends with an error, or without one if the database
    is back in time to record the worker's end. The end of one pool must not end another.
    """
    while True:
        try:
            await run_pool(pool)
            log.warning("job_queue_ended", queues=pool["queues"])
        except QUEUE_ERRORS as error:
            log.error(
                "job_queue_interrupted", queues=pool["queues"], error=type(error).__qualname__
            )
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # The end of the pool has replaced the cancellation that preceded it.
            raise asyncio.CancelledError
        await asyncio.sleep(QUEUE_RESTART_SECONDS)


async def run_workers(*, queues: Iterable[str] | None = None, **options: Any) -> None:
    """Run procrastinate's workers in this process once.

    `queues` defaults to all queues; `options` are those of a procrastinate worker.

    Raises:
        ExceptionGroup: a worker failed; it contains the worker's errors.
    """
    async with asyncio.TaskGroup() as pools:
        for pool in list_pools(queues, options):
            pools.create_task(run_pool(pool))


def list_pools(queues: Iterable[str] | None, options: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the options of each worker; the process handles signals itself.

    Files have a separate worker, so that slow files delay neither runs nor maintenance.
    """
    names = set(queues or list_queues())
    defaults = {**JOB_RETENTION, **options, "install_signal_handlers": False}
    pools = [{**defaults, "queues": sorted(others)}] if (others := names - {FILES_QUEUE}) else []
    if FILES_QUEUE in names:
        pools.append({**defaults, "queues": [FILES_QUEUE], "concurrency": conf.index_slots})
    return pools


async def run_pool(pool: dict[str, Any]) -> None:
    """Run one worker with a separate pool of connections to the default database."""
    connector = PsycopgConnector(
        kwargs=connector_params(), min_size=MIN_CONNECTIONS, max_size=MAX_CONNECTIONS
    )
    app = job_app.with_connector(connector)
    try:
        async with app.open_async():
            await app.run_worker_async(**pool)
    finally:
        await app.close_async()  # even if opening failed: the pool would keep retrying


def list_queues() -> set[str]:
    """Return the queues of all tasks, including those of installed apps."""
    return {DEFAULT_QUEUE, *(task.queue for task in job_app.tasks.values())}
