"""A server process that is full, and a worker process that answers in its place."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tenants.db import in_db
from tests.clock import WAIT_SECONDS
from tests.database import CHECKOUT, TestDatabase
from tests.model_server import make_assistant
from tests.processes.conftest import Redis, environment, served
from tests.processes.test_two_processes import TEXT, WORDS, whole_text
from tests.server import build_environment
from tests.socket_client import chat_socket
from tests.upstream.script import Answer
from tests.upstream.server import ScriptedServer
from tests.world import World


@contextmanager
def worker_process(
    database: TestDatabase, folder: Path, upstream: ScriptedServer, redis: Redis
) -> Iterator[None]:
    """Run `manage.py procrastinate worker` until the end."""
    env = {**build_environment(database, folder), **environment(upstream, redis)}
    command = [sys.executable, "manage.py", "procrastinate", "worker"]
    with (folder / "worker.log").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=CHECKOUT, env=env, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(WAIT_SECONDS)


async def test_an_answer_of_a_worker_process_is_read_in_the_server(
    world: World,
    database: TestDatabase,
    upstream_server: ScriptedServer,
    redis: Redis,
    tmp_path: Path,
) -> None:
    upstream_server.when("First", Answer(say=("One.",), stall_after=1))
    upstream_server.when("Second", Answer(say=WORDS, pace=0.02, held_after=2))
    assistant = await in_db(make_assistant, world.acme)
    with (
        worker_process(database, tmp_path, upstream_server, redis),
        served(database, tmp_path, upstream_server, redis, ATRIUM_MAX_RUNS="1") as server,
    ):
        async with chat_socket(server, world.acme, "alice") as socket:
            first = await socket.say("First", assistant=assistant)
            await socket.until_event("thread.message.delta")
            await socket.ask("unsubscribe", thread=first["thread"]["id"])
            socket.events.clear()
            second = await socket.say("Second", assistant=assistant)
            # Read while it is written.
            await socket.until_event("thread.message.delta")
            upstream_server.go_on()
            assert await whole_text(socket, second["run"]["id"]) == TEXT
            await socket.ask("run.cancel", run=first["run"]["id"])
