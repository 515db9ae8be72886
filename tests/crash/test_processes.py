"""A process that dies, ends, freezes or is poisoned while it answers: another one finishes."""

from __future__ import annotations

import asyncio
import signal
from contextlib import ExitStack
from time import monotonic

import pytest
from websockets.exceptions import ConnectionClosed

from tenants.db import in_db
from tests.clock import WAIT_SECONDS, wait_until
from tests.crash.clients import send, watch
from tests.crash.model import answer_to, tokens_of
from tests.crash.stand import TAKE_OVER_SECONDS, Stand
from tests.server import Server, suspended
from tests.socket_client import chat_socket


async def test_an_answer_is_taken_over_when_its_process_is_killed(
    stand: Stand, survivor: Server, held_answer: None
) -> None:
    acme = stand.world.acme
    with stand.server() as dying:
        async with (
            chat_socket(survivor, acme, "alice") as reader,
            chat_socket(dying, acme, "alice") as socket,
        ):
            sent = await send(stand, socket, "killed in mid-answer")
            await socket.until_event("thread.message.delta")
            dying.process.kill()
            dying.process.wait()
            gone = monotonic()
            await watch(reader, sent)
            ended = await reader.until_ended(sent["run"]["id"])
            took = monotonic() - gone
    assert ended["status"] == "completed"
    assert took < TAKE_OVER_SECONDS
    *cut, whole = await in_db(stand.answers, ended["id"])
    assert whole == ("completed", answer_to("killed in mid-answer"))
    assert {status for status, _text in cut} <= {"incomplete"}
    lost = await in_db(stand.metered, ended["id"], "taken_over")
    assert lost == [tokens_of(cut[0][1] if cut else "")]


async def test_an_answer_is_handed_over_with_what_was_shown_when_its_process_ends(
    stand: Stand, survivor: Server, held_answer: None
) -> None:
    with stand.server(ATRIUM_PARTIAL_SECONDS="60") as ending:
        async with chat_socket(ending, stand.world.acme, "alice") as socket:
            sent = await send(stand, socket, "shown before the end")
            first = await socket.until_event("thread.message.delta")
            ending.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed):
                await socket.until_ended("never")
        await asyncio.to_thread(ending.process.wait, WAIT_SECONDS)
    shown = socket.text_of(first["data"]["id"])
    await asyncio.to_thread(wait_until, stand.is_settled)
    (status, kept), whole = await in_db(stand.answers, sent["run"]["id"])
    assert shown
    assert (status, kept[: len(shown)]) == ("incomplete", shown)
    assert whole == ("completed", answer_to("shown before the end"))


async def test_what_a_frozen_process_wakes_up_with_changes_nothing(
    stand: Stand, survivor: Server, held_answer: None
) -> None:
    acme = stand.world.acme
    with stand.server() as frozen:
        async with (
            chat_socket(survivor, acme, "alice") as reader,
            chat_socket(frozen, acme, "alice") as socket,
        ):
            sent = await send(stand, socket, "frozen in mid-answer")
            await socket.until_event("thread.message.delta")
            with suspended(frozen):
                await watch(reader, sent)
                await reader.until_ended(sent["run"]["id"])
                before = await in_db(stand.run, sent["run"]["id"])
            stand.model.go_on()
            await asyncio.to_thread(wait_until, lambda: "claim_lapsed" in frozen.logged())
    assert await in_db(stand.run, sent["run"]["id"]) == before
    assert before["token"] == 2


async def test_a_poisonous_run_fails_and_others_pass(stand: Stand, survivor: Server) -> None:
    acme = stand.world.acme
    with ExitStack() as processes:
        processes.enter_context(suspended(survivor))
        doomed = [
            processes.enter_context(stand.server(ATRIUM_MAX_TAKEOVERS="2")) for _each in range(3)
        ]
        async with chat_socket(doomed[0], acme, "alice") as socket:
            # The last one kills before the next message could be told of.
            texts = ("harmless", "harmless too", "poison")
            runs = [(await send(stand, socket, text))["run"]["id"] for text in texts]
            with pytest.raises(ConnectionClosed):
                await socket.until_ended("never")
        for server in doomed:
            await asyncio.to_thread(server.process.wait, 2 * WAIT_SECONDS)
    await asyncio.to_thread(wait_until, stand.is_settled, seconds=2 * WAIT_SECONDS)
    ends = [await in_db(stand.run, run) for run in runs]
    assert [(run["status"], run["reason"]) for run in ends] == [
        ("completed", ""),
        ("completed", ""),
        ("failed", "poison"),
    ]
