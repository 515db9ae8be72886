"""The database dies, or is away for a while, under a server that answers."""

from __future__ import annotations

import asyncio
import signal
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from chat.models import Run
from tenants.db import in_db
from tests.clock import wait_until
from tests.crash.clients import accept_here, send
from tests.crash.model import answer_to
from tests.crash.stand import Stand
from tests.server import Server
from tests.socket_client import chat_socket


async def test_an_answer_that_ends_without_a_database_is_kept(
    stand: Stand, survivor: Server, held_answer: None
) -> None:
    async with chat_socket(survivor, stand.world.acme, "alice") as socket:
        sent = await send(stand, socket, "without a database")
        begun = await socket.until_event("thread.message.delta")
        await asyncio.to_thread(stand.kill_database)
        stand.model.go_on()
        # All of it is shown meanwhile; what cannot be served is refused by name.
        whole = answer_to("without a database")
        await socket.until(lambda _frame: socket.text_of(begun["data"]["id"]) == whole)
        refused = await socket.ask("run.cancel", run=sent["run"]["id"])
        await asyncio.to_thread(stand.start_database)
        ended = await socket.until_ended(sent["run"]["id"])
    assert refused["error"]["code"] == "unavailable"
    assert ended["status"] == "completed"
    assert await in_db(stand.answers, ended["id"]) == [("completed", whole)]


async def test_an_answer_outlives_a_crash_of_the_database(stand: Stand, survivor: Server) -> None:
    async with chat_socket(survivor, stand.world.acme, "alice") as socket:
        sent = await send(stand, socket, "effect beside a crash")
        await socket.until_event("thread.run.step.completed")
        await asyncio.to_thread(stand.kill_database, signal.SIGKILL)
        await asyncio.to_thread(stand.start_database)
        ended = await socket.until_ended(sent["run"]["id"])
        again = await send(stand, socket, "after it", thread=sent["thread"]["id"])
        await socket.until_ended(again["run"]["id"])
    assert ended["status"] == "completed"


async def test_a_run_whose_claim_was_committed_unheard_is_taken_up(
    stand: Stand, survivor: Server
) -> None:
    process = await asyncio.to_thread(beating, stand)
    run = await in_db(unheard, stand, process)
    await asyncio.to_thread(wait_until, lambda: stand.run(run)["status"] == "completed")
    assert (await in_db(stand.run, run))["takeovers"] == 0


def beating(stand: Stand) -> UUID:
    """Wait for the next heartbeat and return whose it is; who is dead has given its last."""
    now = timezone.now()
    found = "SELECT id FROM chat_process WHERE beat_at > %s"
    wait_until(lambda: stand.query(found, now))
    process: UUID = stand.query(found, now)[0][0]
    return process


def unheard(stand: Stand, process: UUID) -> str:
    """Leave what a transaction leaves whose commit was not answered: a claim nobody knows of."""
    with stand.world.acme.scope(), transaction.atomic():
        run = accept_here(stand, "unheard")
        Run.objects.filter(pk=run).update(owner=process, token=1)
    return run
