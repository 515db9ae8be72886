"""Companies share the capacity for concurrent requests in turns."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tenants.db import in_db, release_connection
from tenants.turns import RequestTurns


class Desk:
    """Holder of turns, released on request, that records the order in which they began."""

    def __init__(self, *, room: int, per_key: int) -> None:
        self.turns = RequestTurns(room, per_key=per_key)
        self.let_through: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.ends: dict[str, asyncio.Event] = {}

    async def ask(self, *names: str) -> None:
        """Request a turn for each name; the first letter of a name is its key."""
        for name in names:
            self.ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._hold(name))
            await settle()

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await self.tasks[name]
        await settle()

    async def leave(self, name: str) -> None:
        self.tasks[name].cancel()
        with suppress(asyncio.CancelledError):
            await self.tasks[name]
        await settle()

    async def _hold(self, name: str) -> None:
        async with self.turns.hold(name[0]):
            self.let_through.append(name)
            await self.ends[name].wait()


async def settle() -> None:
    for _turn in range(5):
        await asyncio.sleep(0)


async def test_one_key_takes_no_more_than_its_part_of_the_room() -> None:
    desk = Desk(room=3, per_key=2)
    await desk.ask("a1", "a2", "a3", "a4", "b1")
    assert desk.let_through == ["a1", "a2", "b1"]
    await desk.end("a1")
    assert desk.let_through == ["a1", "a2", "b1", "a3"]


async def test_what_is_freed_goes_to_the_key_that_holds_least() -> None:
    desk = Desk(room=2, per_key=2)
    await desk.ask("a1", "a2", "a3", "a4", "b1", "c1")
    for name in ("a1", "a2", "b1", "c1"):
        await desk.end(name)
    assert desk.let_through == ["a1", "a2", "b1", "a3", "c1", "a4"]


async def test_one_that_leaves_while_it_waits_is_passed_over() -> None:
    desk = Desk(room=1, per_key=1)
    await desk.ask("a1", "a2", "a3")
    await desk.leave("a2")
    await desk.end("a1")
    assert desk.let_through == ["a1", "a3"]


async def test_one_that_leaves_as_it_is_let_through_keeps_no_turn() -> None:
    desk = Desk(room=1, per_key=1)
    await desk.ask("a1", "a2", "a3")
    desk.turns.release("a")  # as at the end of a1: a2 has a turn but has not been resumed yet
    await desk.leave("a2")
    assert desk.let_through == ["a1", "a3"]


async def test_slow_work_holds_no_turn() -> None:
    turns = RequestTurns(1, per_key=1)
    async with turns.hold("a"):
        await asyncio.to_thread(release_connection)
        async with asyncio.timeout(10), turns.hold("a"):
            pass
        # The first turn ends only once: its block does not end that of another request.
        assert turns._held.total() == 0


async def test_a_call_in_a_lane_ends_no_turn_of_its_request() -> None:
    turns = RequestTurns(1, per_key=1)
    async with turns.hold("a"):
        await in_db(lambda: None)
        await settle()
        assert turns._held.total() == 1
