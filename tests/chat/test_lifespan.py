"""What lives as long as the server process."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

import pytest
from procrastinate.exceptions import ConnectorException
from psycopg_pool import PoolTimeout

from chat.runs.engine import lifespan
from tests.clock import WAIT_SECONDS


@pytest.mark.parametrize(
    "error",
    [
        ConnectorException(),
        # Of a queue that could not be joined for half a minute.
        PoolTimeout(),
        ExceptionGroup("of two workers", [ConnectorException(), OSError()]),
    ],
)
async def test_the_job_queue_goes_on_after_the_database_was_away(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    joined: list[str] = []
    again = asyncio.Event()

    async def work_off() -> None:
        joined.append("joined")
        if len(joined) == 1:
            raise error
        again.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(lifespan, "work_off", work_off)
    monkeypatch.setattr(lifespan, "QUEUE_PAUSE", 0)
    queue = asyncio.create_task(lifespan.run_jobs())
    await asyncio.wait_for(again.wait(), WAIT_SECONDS)
    queue.cancel()
    with suppress(asyncio.CancelledError):
        await queue
    assert joined == ["joined", "joined"]


async def test_a_queue_that_is_told_to_end_ends_without_its_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = asyncio.Event()

    async def fail_at_the_end() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            raise ConnectorException

    async def work_off() -> None:
        async with asyncio.TaskGroup() as workers:
            for _worker in range(2):
                workers.create_task(fail_at_the_end())

    monkeypatch.setattr(lifespan, "work_off", work_off)
    monkeypatch.setattr(lifespan, "QUEUE_PAUSE", WAIT_SECONDS)
    queue = asyncio.create_task(lifespan.run_jobs())
    await asyncio.wait_for(begun.wait(), WAIT_SECONDS)
    queue.cancel()
    await asyncio.wait({queue}, timeout=WAIT_SECONDS / 4)
    assert queue.cancelled()


def test_a_signal_begins_to_drain_ahead_of_the_servers_own_end() -> None:
    told: list[str] = []

    async def serve() -> None:
        begun = asyncio.Event()
        with lifespan.at_termination(begun.set):
            signal.raise_signal(signal.SIGTERM)
            await asyncio.wait_for(begun.wait(), WAIT_SECONDS)
        signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda *_signal: told.append("server"))
    try:
        asyncio.run(serve())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == ["server", "server"]
