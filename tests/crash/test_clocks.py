"""Hosts whose clocks differ: nothing that runs is taken for lost, and no deadline comes early."""

from __future__ import annotations

import asyncio

import pytest

from tenants.db import in_db
from tests.clock import wait_until
from tests.crash.clients import send
from tests.crash.model import answer_to
from tests.crash.stand import LAPSE_SECONDS, Stand
from tests.server import Server
from tests.socket_client import chat_socket


@pytest.mark.parametrize("wrong", [-30, 30, -3600])
async def test_a_process_whose_clock_is_wrong_keeps_its_runs(
    stand: Stand, survivor: Server, held_answer: None, wrong: int
) -> None:
    with stand.server(CRASH_CLOCK_SECONDS=str(wrong)) as own:
        async with chat_socket(own, stand.world.acme, "alice") as socket:
            sent = await send(stand, socket, "by a wrong clock")
            run = sent["run"]["id"]
            await socket.until_event("thread.message.delta")
            # The other process has looked for lost runs many times since.
            ((begun,),) = await in_db(stand.query, "SELECT clock_timestamp()")
            await asyncio.to_thread(wait_until, lambda: has_beaten(stand, run, begun))
            during = await in_db(stand.run, run)
            stand.model.go_on()
            ended = await socket.until_ended(run)
        own.process.kill()
    assert (during["status"], during["token"], during["takeovers"]) == ("in_progress", 1, 0)
    assert ended["status"] == "completed"
    assert await in_db(stand.answers, run) == [("completed", answer_to("by a wrong clock"))]
    ((in_order,),) = await in_db(
        stand.query,
        "SELECT bool_and(m.created_at BETWEEN r.created_at AND r.ended_at "
        "AND r.started_at BETWEEN r.created_at AND r.ended_at AND r.ended_at < clock_timestamp() "
        "AND m.completed_at BETWEEN m.created_at AND r.ended_at) "
        "FROM chat_run r JOIN chat_message m ON m.run_ref = r.id WHERE r.id = %s",
        run,
    )
    assert in_order


def has_beaten(stand: Stand, run: str, begun: object) -> bool:
    """Return True once another process beat for longer than a lapse since `begun`."""
    ((long_enough,),) = stand.query(
        "SELECT max(p.beat_at) > %s + make_interval(secs => %s) FROM chat_process p, chat_run r "
        "WHERE r.id = %s AND p.id <> r.owner",
        begun,
        2 * LAPSE_SECONDS,
        run,
    )
    return bool(long_enough)
