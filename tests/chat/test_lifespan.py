"""What lives as long as the server process."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

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
        OSError(),
        # A worker that was without its database for a moment ends as if it had been told to.
        None,
    ],
)
async def test_a_pool_goes_on_after_the_database_was_away(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    joined: list[list[str]] = []
    again = asyncio.Event()

    async def run_pool(pool: dict[str, Any]) -> None:
        joined.append(pool["queues"])
        if pool["queues"] == ["files"] and joined.count(["files"]) == 1:
            if error is not None:
                raise error
            return
        if joined.count(["files"]) == 2:
            again.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(lifespan, "run_pool", run_pool)
    monkeypatch.setattr(lifespan, "QUEUE_RESTART_SECONDS", 0)
    queue = asyncio.create_task(lifespan.run_jobs(queues=["files", "runs"]))
    await asyncio.wait_for(again.wait(), WAIT_SECONDS)
    queue.cancel()
    await asyncio.wait({queue}, timeout=WAIT_SECONDS)
    assert queue.cancelled()
    # The other pool was left alone.
    assert sorted(joined) == [["files"], ["files"], ["runs"]]


async def test_a_queue_that_is_told_to_end_ends_without_its_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = asyncio.Event()

    async def fail_at_the_end(pool: dict[str, Any]) -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            raise ConnectorException

    monkeypatch.setattr(lifespan, "run_pool", fail_at_the_end)
    monkeypatch.setattr(lifespan, "QUEUE_RESTART_SECONDS", WAIT_SECONDS)
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
