"""A chat read and written through two server processes."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp

from chat.demo.models import Contact, Customer, Order
from chat.models import Message
from chat.runs.delivery.replication import SPACING_SECONDS
from tenants.db import in_db
from tests.api.conftest import program_of
from tests.clock import time_limit, wait_until
from tests.database import TestDatabase
from tests.model_server import make_assistant
from tests.processes.conftest import Pair, served
from tests.socket_client import ChatSocket, chat_socket
from tests.upstream.script import Answer, Call
from tests.world import Company, World

WORDS = tuple(f"wörd😀{number} " for number in range(60))
TEXT = "".join(WORDS)
TOOLS = [{"type": "function", "function": {"name": "cancel_order"}}]


def deltas(socket: ChatSocket) -> list[dict[str, Any]]:
    return [frame for frame in socket.events if frame["event"] == "thread.message.delta"]


async def whole_text(socket: ChatSocket, run: str) -> str:
    """Wait for the run's end and return its text as the deltas brought it."""
    ended = await socket.until_ended(run)
    assert ended["status"] == "completed", ended
    message = (await socket.until_event("thread.message.completed"))["data"]
    text = socket.text_of(message["id"])
    assert text == message["content"][0]["text"]["value"]
    return text


async def test_an_answer_written_in_one_process_is_read_in_the_other(
    world: World, pair: Pair
) -> None:
    pair.upstream.expect(Answer(say=WORDS, pace=0.02, held_after=2))
    async with (
        chat_socket(pair.a, world.acme, "alice") as writer,
        chat_socket(pair.b, world.acme, "alice") as reader,
    ):
        sent = await writer.say("Hello", assistant=pair.assistant)
        await reader.ask("subscribe", thread=sent["thread"]["id"], cursor=None)
        # Forwarded as it comes, and not word by word.
        await reader.until_event("thread.message.delta")
        before, held = len(deltas(reader)), monotonic()
        pair.upstream.go_on()
        assert await whole_text(reader, sent["run"]["id"]) == TEXT
        batches = (monotonic() - held) / SPACING_SECONDS
        assert await whole_text(writer, sent["run"]["id"]) == TEXT
    assert len(deltas(reader)) - before <= batches + 2


async def test_both_processes_tell_the_same_events(world: World, pair: Pair) -> None:
    pair.upstream.expect(say="Hello")
    pair.upstream.expect(say=TEXT)
    async with (
        chat_socket(pair.a, world.acme, "alice") as writer,
        chat_socket(pair.b, world.acme, "alice") as reader,
    ):
        first = await writer.say("Hello", assistant=pair.assistant)
        thread = first["thread"]["id"]
        await writer.until_ended(first["run"]["id"])
        await reader.ask("subscribe", thread=thread, cursor=None)
        second = await writer.say("Go on", assistant=pair.assistant, thread=thread)
        run = second["run"]["id"]
        told = []
        for socket in (writer, reader):
            await socket.until_ended(run)
            mine = [frame for frame in socket.events if frame["run"] == run]
            told.append([(f["state"], f["event"]) for f in mine if f not in deltas(socket)])
        assert told[0] == told[1]


async def test_a_reader_goes_on_at_the_other_process_where_it_stopped(
    world: World, pair: Pair
) -> None:
    pair.upstream.expect(Answer(say=WORDS, held_after=10))
    async with chat_socket(pair.a, world.acme, "alice") as first:
        sent = await first.say("Hello", assistant=pair.assistant)
        run = sent["run"]["id"]
        await first.until_event("thread.message.delta")
    last = deltas(first)[-1]
    message, state = last["data"]["id"], last["state"]
    have = first.text_of(message)
    async with chat_socket(pair.b, world.acme, "alice") as second:
        cursor = {"run": run, "state": state, "items": [[message, 0, "text", len(have)]]}
        await second.ask("subscribe", thread=sent["thread"]["id"], cursor=cursor)
        pair.upstream.go_on()
        await second.until_ended(run)
        assert have + second.text_of(message) == TEXT
        assert {frame["state"] for frame in second.events if frame not in deltas(second)} == set(
            range(state + 1, second.events[-1]["state"] + 1)
        )


async def test_an_answer_is_stopped_from_the_other_process(world: World, pair: Pair) -> None:
    pair.upstream.expect(Answer(say=WORDS, stall_after=2))
    async with (
        chat_socket(pair.a, world.acme, "alice") as writer,
        chat_socket(pair.b, world.acme, "alice") as other,
    ):
        sent = await writer.say("Hello", assistant=pair.assistant)
        await writer.until_event("thread.message.delta")
        await other.ask("subscribe", thread=sent["thread"]["id"], cursor=None)
        with time_limit(2):
            await other.ask("run.cancel", run=sent["run"]["id"])
            for socket in (other, writer):
                assert (await socket.until_ended(sent["run"]["id"]))["status"] == "cancelled"
    assert await asyncio.to_thread(pair.upstream.was_left)


async def test_a_message_queued_in_the_other_process_is_answered(world: World, pair: Pair) -> None:
    pair.upstream.when("Hello", Answer(say=WORDS, held_after=2))
    pair.upstream.when("And then?", Answer(say=("Then", " that.")))
    async with (
        chat_socket(pair.a, world.acme, "alice") as writer,
        chat_socket(pair.b, world.acme, "alice") as other,
    ):
        sent = await writer.say("Hello", assistant=pair.assistant)
        thread = sent["thread"]["id"]
        await other.ask("subscribe", thread=thread, cursor=None)
        waiting = await other.say("And then?", assistant=pair.assistant, thread=thread)
        assert waiting["queued"]
        told = await writer.until_event("atrium.message.queued")
        assert told["data"]["id"] == waiting["message"]["id"]
        pair.upstream.go_on()
        for socket in (writer, other):
            frame = await socket.until(lambda f: f["run"] not in (None, sent["run"]["id"]))
            await socket.until_ended(frame["run"])
            assert (await in_db(texts, world.acme, frame["run"])) == ["Then that."]


def texts(company: Company, run: str) -> list[str]:
    with company.scope():
        rows = Message.objects.filter(run_ref=run, status="completed").order_by("position")
        return [message.content[0]["text"]["value"] for message in rows]


async def test_a_call_is_approved_in_the_other_process(world: World, pair: Pair) -> None:
    call = Call(name="cancel_order", arguments='{"order_number": 1001}')
    pair.upstream.expect(Answer(calls=(call,), finish="tool_calls"))
    pair.upstream.expect(say=WORDS)
    await in_db(place_order, world.acme)
    assistant = await in_db(make_assistant, world.acme, tools=TOOLS)
    async with (
        chat_socket(pair.a, world.acme, "alice") as writer,
        chat_socket(pair.b, world.acme, "alice") as approver,
    ):
        sent = await writer.say("Move it", assistant=assistant)
        run = sent["run"]["id"]
        waits = (await writer.until_event("thread.run.requires_action"))["data"]
        await approver.ask("subscribe", thread=sent["thread"]["id"], cursor=None)
        shown = (await approver.until_event("thread.run.requires_action"))["data"]
        assert shown["atrium"]["approvals"] == waits["atrium"]["approvals"]
        [approval] = shown["atrium"]["approvals"]
        answer = await approver.ask(
            "tool.decide",
            run=run,
            call=approval["call_id"],
            decision="approve",
            arguments_hash=approval["arguments_hash"],
        )
        assert answer["type"] == "ack", answer
        for socket in (approver, writer):
            assert await whole_text(socket, run) == TEXT
    assert (await in_db(order_status, world.acme)) == "cancelled"


def place_order(company: Company) -> None:
    with company.scope():
        customer = Customer.objects.create(name="A customer")
        Contact.objects.create(customer=customer, member=company.people["alice"])
        today = dt.date(2026, 1, 2)
        Order.objects.create(number=1001, customer=customer, status="placed", ordered_on=today)


def order_status(company: Company) -> str:
    with company.scope():
        return str(Order.objects.get(number=1001).status)


async def test_an_answer_is_read_to_its_end_when_its_process_is_killed(
    world: World, pair: Pair, database: TestDatabase, tmp_path: Path
) -> None:
    pair.upstream.when("Hello", Answer(say=WORDS, stall_after=30), Answer(say=WORDS, pace=0.005))
    with served(database, tmp_path, pair.upstream, pair.redis) as victim:
        async with chat_socket(pair.b, world.acme, "alice") as reader:
            async with chat_socket(victim, world.acme, "alice") as writer:
                sent = await writer.say("Hello", assistant=pair.assistant)
                run = sent["run"]["id"]
                await reader.ask("subscribe", thread=sent["thread"]["id"], cursor=None)
                await reader.until_event("thread.message.delta")
                # What was shown is stored a moment later.
                await asyncio.to_thread(wait_until, lambda: kept(database, run))
                victim.process.kill()
                victim.process.wait()
            give_up_waiting(database, run)
            cut = (await reader.until_event("thread.message.incomplete"))["data"]
            assert await whole_text(reader, run) == TEXT
            assert TEXT.startswith(cut["content"][0]["text"]["value"])
            assert (await in_db(texts, world.acme, run)) == [TEXT]


def kept(database: TestDatabase, run: str) -> list[tuple[object, ...]]:
    """Return the ids of the messages that a run has written so far."""
    query = "SELECT id FROM chat_message WHERE run_ref = %s"
    return database.owner.execute(query, [run]).fetchall()


def give_up_waiting(database: TestDatabase, run: str) -> None:
    """Let so much time pass that the process of a run is taken for dead."""
    aged = "UPDATE chat_process SET beat_at = 'epoch' WHERE id = "
    database.owner.execute(f"{aged} (SELECT owner FROM chat_run WHERE id = %s)", [run])


async def test_two_companies_read_only_their_own(world: World, pair: Pair) -> None:
    acme, globex = await asyncio.gather(
        told_over_there(pair, world.acme, "alice"), told_over_there(pair, world.globex, "gina")
    )
    assert "CANARY-ACME-" in acme and "CANARY-GLOBEX-" not in acme
    assert "CANARY-GLOBEX-" in globex and "CANARY-ACME-" not in globex


async def told_over_there(pair: Pair, company: Company, name: str) -> str:
    """Ask in one process and return everything that was told in the other."""
    pair.upstream.when(company.canary, Answer(say=(company.canary,) * 20, pace=0.01))
    assistant = await in_db(make_assistant, company)
    async with (
        chat_socket(pair.a, company, name) as writer,
        chat_socket(pair.b, company, name) as reader,
    ):
        sent = await writer.say(company.canary, assistant=assistant)
        await reader.ask("subscribe", thread=sent["thread"]["id"], cursor=None)
        for socket in (writer, reader):
            await socket.until_ended(sent["run"]["id"])
        return str(reader.events)


async def test_a_programs_stream_goes_on_in_the_other_process(world: World, pair: Pair) -> None:
    pair.upstream.expect(Answer(say=WORDS, pace=0.01, held_after=2))
    program = await in_db(program_of, world.acme, "alice")
    async with chat_socket(pair.a, world.acme, "alice") as writer:
        sent = await writer.say("Hello", assistant=pair.assistant)
        thread, run = sent["thread"]["id"], sent["run"]["id"]
        await writer.until_event("thread.message.delta")
        url = f"{pair.b.url}/v1/threads/{thread}/runs/{run}/events"
        headers = {"Authorization": f"Bearer {program.secret}", **program.headers}
        async with aiohttp.ClientSession(headers=headers) as client, client.get(url) as stream:
            assert stream.status == 200, await stream.text()
            pair.upstream.go_on()
            told = (await stream.read()).decode()
        assert streamed_text(told) == TEXT
        assert told.endswith("event: done\ndata: [DONE]\n\n")
        await writer.until_ended(run)


def streamed_text(told: str) -> str:
    """Return the text that an event stream's deltas brought."""
    frames = [frame.split("data: ", 1)[1] for frame in told.split("\n\n") if ".delta" in frame]
    parts = [json.loads(data)["delta"]["content"][0]["text"]["value"] for data in frames]
    return "".join(parts)
