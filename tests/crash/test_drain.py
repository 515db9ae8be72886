"""A server that is told to end hands its answers over while connections are still open."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
from pathlib import Path

from tenants.db import in_db
from tests.api.conftest import BETA, program_of
from tests.clock import WAIT_SECONDS, wait_until
from tests.crash.stand import Stand
from tests.server import Server, serve


async def test_an_open_stream_keeps_no_answer_from_being_handed_over(
    stand: Stand, survivor: Server, held_answer: None, tmp_path: Path
) -> None:
    environment = stand.environment(ATRIUM_DRAIN_SECONDS="0.2")
    with serve(
        stand.database, tmp_path, environment=environment, pages=False, grace_seconds=600
    ) as ending:
        connection, answer = await asyncio.to_thread(
            open_stream, ending, await in_db(key_of, stand), stand.assistant
        )
        try:
            run = await asyncio.to_thread(until_text, answer)
            before = await in_db(stand.run, run)
            ending.process.send_signal(signal.SIGTERM)
            # The server would wait for the open stream for ten minutes.
            await asyncio.to_thread(
                wait_until, lambda: stand.run(run)["owner"] not in (None, before["owner"])
            )
            assert ending.process.poll() is None
            stand.model.go_on()
            rest = await asyncio.to_thread(answer.read)
        finally:
            answer.close()
            connection.close()
        assert await asyncio.to_thread(ending.process.wait, WAIT_SECONDS) == -signal.SIGTERM
    await asyncio.to_thread(wait_until, stand.is_settled)
    assert (await in_db(stand.run, run))["takeovers"] == 0
    assert b"thread.run.completed" in rest


def key_of(stand: Stand) -> str:
    return program_of(stand.world.acme, "alice").secret


def open_stream(
    server: Server, key: str, assistant: str
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """Ask something, and return the open stream of the answer."""
    body = {
        "assistant_id": assistant,
        "stream": True,
        "thread": {"messages": [{"role": "user", "content": "streamed at the end"}]},
    }
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **BETA}
    connection.request("POST", "/v1/threads/runs", json.dumps(body), headers)
    return connection, connection.getresponse()


def until_text(answer: http.client.HTTPResponse) -> str:
    """Read up to the first text; return the id of the run."""
    run = ""
    while line := answer.readline():
        if line.startswith(b"data: ") and not run:
            data = json.loads(line.removeprefix(b"data: "))
            run = data["id"] if data["object"] == "thread.run" else ""
        if b"thread.message.delta" in line:
            return run
    raise AssertionError("The stream ended.")
