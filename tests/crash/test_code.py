"""A process that is killed while it runs a model's code: another one goes on as if it had not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from chat.models import CodeSession, File
from tenants.db import in_db
from tests.clock import wait_until
from tests.crash.clients import send, watch
from tests.crash.stand import Stand
from tests.sandbox.opened import all_end
from tests.server import Server, suspended
from tests.socket_client import chat_socket

# About a second of work, and one thing that would be seen if it were done twice.
WORKING = "run steps.append(2)\nfor n in range(3_000_000):\n    pass\nsteps"
STARTED = "SELECT count(*) FROM chat_toolcall WHERE run_id = %s AND status = 'started'"
DETAILS = "SELECT details->>'logs', status, left(output, 300) FROM chat_toolcall WHERE run_id = %s"


async def test_code_that_was_cut_off_begins_again_with_the_state_before_it(
    stand: Stand, survivor: Server, tmp_path: Path
) -> None:
    """Only what has the same files may take the code over: the server beside them stands still."""
    acme, here = stand.world.acme, {"ATRIUM_DATA_DIR": str(tmp_path), "ATRIUM_CODE_SECONDS": "60"}
    with suspended(survivor):
        with stand.server(**here) as dying:
            async with chat_socket(dying, acme, "alice") as socket:
                first = await send(stand, socket, "run steps = [1]")
                await socket.until_ended(first["run"]["id"])
                thread = first["thread"]["id"]
                sent = await send(stand, socket, WORKING, thread=thread)
                run = sent["run"]["id"]
                await asyncio.to_thread(wait_until, lambda: stand.query(STARTED, run) == [(1,)])
                left = psutil.Process(dying.process.pid).children(recursive=True)
                dying.process.kill()
        assert left
        assert await all_end(left)
        with stand.server(**here) as other:
            async with chat_socket(other, acme, "alice") as socket:
                await watch(socket, sent)
                ended = await socket.until_ended(run)
    assert ended["status"] == "completed"
    ((logs, *outcome),) = stand.query(DETAILS, run)
    assert logs == "[1, 2]", outcome
    assert await in_db(kept, stand, thread) == 1


def kept(stand: Stand, thread: str) -> int:
    """Return how many states the thread has; their bytes are no files of anybody's."""
    with stand.world.acme.scope():
        assert not File.objects.alive().filter(filename="state").exists()
        count: int = CodeSession.objects.filter(thread_id=thread).exclude(storage_key="").count()
    return count
