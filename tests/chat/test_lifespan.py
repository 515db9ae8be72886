"""What lives as long as the server process."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

import pytest
from procrastinate.exceptions import ConnectorException

from chat.runs.engine import lifespan
from tests.clock import WAIT_SECONDS


async def test_the_job_queue_goes_on_after_the_database_was_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    joined: list[str] = []
    again = asyncio.Event()

    async def work_off() -> None:
        joined.append("joined")
        if len(joined) == 1:
            raise ConnectorException
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
