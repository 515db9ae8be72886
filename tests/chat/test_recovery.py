"""A process that dies in mid-answer: another one finishes what it began."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from chat.models import Message, Run, ToolCall
from tenants.db import in_db
from tests.chat.test_run_tools import calling, make_desk
from tests.database import TestDatabase
from tests.model_server import QUICK, make_assistant
from tests.server import serve
from tests.socket_client import chat_socket
from tests.upstream.server import ScriptedServer
from tests.world import Company, World

# No two of these servers live at the same time: none can be taken for dead by another.
BRIEF = {**QUICK, "ATRIUM_LAPSE_SECONDS": "2", "ATRIUM_DRAIN_SECONDS": "0.2"}


def messages_of(company: Company, thread: str) -> list[Message]:
    with company.scope():
        return list(Message.objects.filter(thread_id=thread).order_by("position"))


def run_of(company: Company, run: str) -> Run:
    with company.scope():
        found: Run = Run.objects.get(pk=run)
        return found


async def test_an_answer_outlives_its_process(
    world: World,
    database: TestDatabase,
    upstream_server: ScriptedServer,
    tmp_path: Path,
) -> None:
    assistant = await in_db(make_assistant, world.acme)
    environment = {**BRIEF, "OPENAI_BASE_URL": upstream_server.base_url}
    upstream_server.expect(say=("Half ", "an answer"), stall_after=1)
    upstream_server.expect(say=("A whole answer",))
    with serve(database, make_folder(tmp_path, "one"), environment=environment) as first:
        async with chat_socket(first, world.acme, "alice") as socket:
            sent = await socket.say("Hello", assistant=assistant)
            await socket.until_event("thread.message.delta")
            first.process.kill()
            with pytest.raises(ConnectionClosed):
                await socket.until_ended("never")
        first.process.wait(timeout=20)
    thread, run = sent["thread"]["id"], sent["run"]["id"]
    with serve(database, make_folder(tmp_path, "two"), environment=environment) as second:
        async with chat_socket(second, world.acme, "alice") as socket:
            await socket.ask("subscribe", thread=thread, cursor=from_start(run))
            ended = await socket.until_ended(run)
    assert ended["status"] == "completed"
    told = await in_db(messages_of, world.acme, thread)
    assert [(m.role, m.status) for m in told if m.status == "completed"] == [
        ("user", "completed"),
        ("assistant", "completed"),
    ]
    assert told[-1].text() == "A whole answer"
    assert (await in_db(run_of, world.acme, run)).token > 1


def from_start(run: str) -> dict[str, object]:
    """Return the cursor of a client that has nothing of `run`."""
    return {"run": run, "state": 0, "items": []}


def make_folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


async def test_a_finished_call_is_not_repeated_after_a_kill(
    world: World, database: TestDatabase, upstream_server: ScriptedServer, tmp_path: Path
) -> None:
    assistant = await in_db(make_desk, world.acme)
    environment = {**BRIEF, "OPENAI_BASE_URL": upstream_server.base_url}
    change = '{"order_number": 1042, "address": "5 Elm Street, Springfield"}'
    upstream_server.expect(calling("update_delivery_address", change))
    upstream_server.expect(stall=True)
    upstream_server.expect(say=("Changed.",))
    with serve(database, make_folder(tmp_path, "one"), environment=environment) as first:
        async with chat_socket(first, world.acme, "alice") as socket:
            sent = await socket.say("Change it", assistant=assistant)
            await socket.until_event("thread.run.step.completed")
            await asyncio.to_thread(upstream_server.wait_for_requests, 2)
            first.process.kill()
            with pytest.raises(ConnectionClosed):
                await socket.until_ended("never")
    with serve(database, make_folder(tmp_path, "two"), environment=environment) as second:
        async with chat_socket(second, world.acme, "alice") as socket:
            await socket.ask(
                "subscribe", thread=sent["thread"]["id"], cursor=from_start(sent["run"]["id"])
            )
            ended = await socket.until_ended(sent["run"]["id"])
    assert ended["status"] == "completed"

    def calls() -> list[str]:
        with world.acme.scope():
            return [call.status for call in ToolCall.objects.filter(run_id=ended["id"])]

    assert await in_db(calls) == ["completed"]
