"""`manage.py procrastinate`, with a worker that executes runs as a server process does."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from typing import Any

from procrastinate.contrib.django.management.commands import procrastinate

from chat.runs.engine.lifespan import run_jobs, run_workers, serving


class Command(procrastinate.Command):
    """Command whose `worker` sends heartbeats, takes over runs and survives database outages.

    A worker that stops hands over the runs it cannot finish.
    """

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the worker until SIGTERM or SIGINT; with `--one-shot` until the queue is empty."""
        if options.get("command") != "worker":
            super().handle(*args, **options)
            return
        own = {"command", "func", *self._django_options}
        asked = {name: value for name, value in options.items() if name not in own}
        asyncio.run(run_worker(**asked))


async def run_worker(**options: Any) -> None:
    """Run jobs without serving HTTP; `options` are those of procrastinate's worker."""
    if not options.get("wait", True):
        async with serving(partial(run_workers, **options)) as here:
            await here.jobs
        return
    stop_requested = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop_requested.set)
    async with serving(partial(run_jobs, **options)):
        await stop_requested.wait()
