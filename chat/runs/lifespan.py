"""ASGI lifespan: the worker and the job queue live as long as the server process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog
from django.db import DatabaseError
from procrastinate.contrib.django import app as jobs
from procrastinate.exceptions import ProcrastinateException

from chat.runs import upstreams
from chat.runs.worker import worker
from chat.upstream.errors import UpstreamError

log = structlog.get_logger(__name__)

QUEUE_PAUSE = 5.0  # seconds before the job queue is joined again


class Lifespan:
    """The ASGI application of the `lifespan` scope."""

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Start on start-up; drain on shutdown."""
        await receive()
        try:
            await upstreams.warm_up()
            worker.in_server = True
            await worker.start()
            queue = asyncio.create_task(run_jobs())
        except (DatabaseError, UpstreamError, OSError, ValueError) as error:
            log.exception("start_failed")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await worker.drain()
        queue.cancel()
        with suppress(asyncio.CancelledError):
            await queue
        await upstreams.close_all()
        await send({"type": "lifespan.shutdown.complete"})


async def run_jobs() -> None:
    """Work off jobs until cancelled, also after the database was away."""
    while True:
        try:
            await work_off()
        except (ProcrastinateException, OSError):
            # The queue's own worker ends with the first error of its connection.
            log.exception("job_queue_interrupted")
        await asyncio.sleep(QUEUE_PAUSE)


async def work_off() -> None:
    """Run procrastinate's worker in this process; signals are the server's to handle."""
    app = jobs.with_connector(jobs.connector.get_worker_connector())  # type: ignore[attr-defined]
    async with app.open_async():
        await app.run_worker_async(
            install_signal_handlers=False,
            concurrency=4,
            shutdown_graceful_timeout=5,
            delete_jobs="successful",
        )
