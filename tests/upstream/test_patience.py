"""The limit for waits: it ends one that lasts too long, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from chat.upstream.timeouts import ReusableTimeout


async def value() -> str:
    await asyncio.sleep(0)
    return "value"


async def never() -> None:
    await asyncio.get_running_loop().create_future()


async def test_a_wait_that_ends_in_time() -> None:
    patience = ReusableTimeout()
    assert await patience.wait(value(), 5) == "value"
    patience.close()


async def test_a_wait_that_lasts_too_long() -> None:
    patience = ReusableTimeout()
    await patience.wait(value(), 60)
    with pytest.raises(TimeoutError):
        await patience.wait(never(), 0.01)


async def test_an_earlier_limit_does_not_end_a_later_wait() -> None:
    patience = ReusableTimeout()
    await patience.wait(value(), 0.01)
    assert await patience.wait(asyncio.sleep(0.05, "late"), 60) == "late"
    patience.close()


async def test_the_task_goes_on_uncancelled() -> None:
    patience = ReusableTimeout()
    with pytest.raises(TimeoutError):
        await patience.wait(never(), 0.01)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancel_from_outside_is_no_timeout() -> None:
    patience = ReusableTimeout()
    task = asyncio.ensure_future(patience.wait(never(), 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    patience.close()
