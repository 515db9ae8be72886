"""Slow tools of one company hold up nobody else."""

from __future__ import annotations

import asyncio
import threading

import pytest
from django.conf import settings

from chat.runs.engine.worker import Worker
from chat.runs.state import recovery
from chat.tools import dispatch
from chat.tools.base import Effect, ToolContext
from chat.tools.registry import TOOLS, make_tool
from tenants.db import in_db
from tests.chat.tool_runs import call, open_run, prepare
from tests.world import World

PATIENCE = 60


async def test_tools_that_hang_leave_room_for_work_and_heartbeats(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def hang(ctx: ToolContext) -> str:
        """Wait."""
        release.wait(PATIENCE * 3)
        return "done"

    monkeypatch.setitem(TOOLS, "hang", make_tool(hang, effect=Effect.READ))
    many = settings.DATABASE_THREADS + 1
    context = await in_db(open_run, world.acme, "alice", "hang")
    calls = [call("hang", index=index) for index in range(many)]
    rows = await in_db(prepare, world.acme, context, *calls)
    hanging = [asyncio.create_task(dispatch.execute(context, row)) for row in rows]
    try:
        await asyncio.sleep(0)
        worker = Worker()
        async with asyncio.timeout(PATIENCE):
            await in_db(recovery.deregister, worker.process_id)
            await worker._send_heartbeat()
    finally:
        release.set()
        ended = await asyncio.gather(*hanging)
    assert {row.output for row in ended} == {"done"}
