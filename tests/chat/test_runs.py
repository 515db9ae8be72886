"""Runs against a scripted model server: how they end, what is kept, and what readers see."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from chat.models import Message, Run, Usage
from tenants.actions import disable_member
from tenants.db import in_db
from tests.model_server import ModelServer
from tests.socket_client import ChatSocket, Frame, chat_socket
from tests.upstream.script import Answer
from tests.world import Company, World


def stored_messages(company: Company, thread: str) -> list[Message]:
    with company.scope():
        return list(Message.objects.filter(thread_id=thread).order_by("position"))


def stored_run(company: Company, run: str) -> Run:
    with company.scope():
        found: Run = Run.objects.get(pk=run)
        return found


async def answered(model: ModelServer, world: World, *answers: Answer) -> tuple[Frame, Frame]:
    """Say hello to a model that answers so; return the ack and the ended run."""
    for answer in answers:
        model.upstream.expect(answer)
    async with chat_socket(model.server, world.acme, "alice") as socket:
        sent = await socket.say("Hello", assistant=model.acme)
        return sent, await socket.until_ended(sent["run"]["id"])


async def test_a_turn_is_stored_whole(model: ModelServer, world: World) -> None:
    sent, run = await answered(model, world, Answer(say=("Hel", "lo ", "Alice")))
    question, answer = await in_db(stored_messages, world.acme, sent["thread"]["id"])
    assert (question.text(), answer.text()) == ("Hello", "Hello Alice")
    assert answer.run_ref == run["id"]
    assert answer.status == "completed"
    assert run["usage"]["total_tokens"] == 18


async def test_usage_rows_sum_to_the_runs(model: ModelServer, world: World) -> None:
    _sent, run = await answered(model, world, Answer(status=503), Answer(say=("x",)))

    def sums() -> dict[tuple[str, str], Any]:
        with world.acme.scope():
            rows = Usage.objects.filter(run_id=run["id"])
            return {(row.outcome, row.kind): int(row.quantity) for row in rows}

    assert await in_db(sums) == {
        ("failed", "input_tokens"): 0,
        ("failed", "output_tokens"): 0,
        ("used", "input_tokens"): 11,
        ("used", "output_tokens"): 7,
    }


async def test_transient_faults_are_invisible(model: ModelServer, world: World) -> None:
    faults = (Answer(status=429), Answer(reset=True), Answer(status=500, body="<h1>Oops</h1>"))
    _sent, run = await answered(model, world, *faults, Answer(say=("fine",)))
    assert run["status"] == "completed"


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (Answer(status=401), "failed", "upstream_refused"),
        (Answer(status=404), "failed", "upstream_refused"),
        (Answer(say=("cut",), finish="length"), "incomplete", "max_completion_tokens"),
        (Answer(say=("cut",), finish="content_filter"), "incomplete", "content_filter"),
    ],
)
async def test_how_a_run_ends(
    model: ModelServer, world: World, answer: Answer, status: str, reason: str
) -> None:
    _sent, run = await answered(model, world, answer)
    assert (run["status"], run["atrium"]["reason"]) == (status, reason)
    assert run["atrium"]["sentence"]
    assert (run["last_error"] is not None) == (status == "failed")


async def test_a_failed_thread_stays_usable(model: ModelServer, world: World) -> None:
    model.upstream.expect(status=401)
    model.upstream.expect(say=("back",))
    async with chat_socket(model.server, world.acme, "alice") as socket:
        sent = await socket.say("Hello", assistant=model.acme)
        await socket.until_ended(sent["run"]["id"])
        again = await socket.ask("run.retry", thread=sent["thread"]["id"], assistant=None)
        run = await socket.until_ended(again["run"]["id"])
    assert run["status"] == "completed"
    messages = await in_db(stored_messages, world.acme, sent["thread"]["id"])
    assert [message.text() for message in messages] == ["Hello", "back"]


async def test_a_cut_stream_is_repeated_as_a_new_message(model: ModelServer, world: World) -> None:
    broken = Answer(say=("Half an ", "answer"), broken_after=1)
    sent, run = await answered(model, world, broken, Answer(say=("Whole answer",)))
    assert run["status"] == "completed"
    _question, cut, whole = await in_db(stored_messages, world.acme, sent["thread"]["id"])
    assert (cut.status, cut.incomplete_reason) == ("incomplete", "run_failed")
    assert (whole.status, whole.text()) == ("completed", "Whole answer")


async def test_stop_keeps_what_was_written(model: ModelServer, world: World) -> None:
    model.upstream.expect(say=("One ", "two ", "three"), stall_after=2)
    async with chat_socket(model.server, world.acme, "alice") as socket:
        sent = await socket.say("Count", assistant=model.acme)
        await socket.until_event("thread.message.delta")
        await socket.ask("run.cancel", run=sent["run"]["id"])
        run = await socket.until_ended(sent["run"]["id"])
    assert (run["status"], run["atrium"]["reason"]) == ("cancelled", "stopped")
    assert await asyncio.to_thread(model.upstream.was_left)
    _question, answer = await in_db(stored_messages, world.acme, sent["thread"]["id"])
    assert (answer.status, answer.incomplete_reason) == ("incomplete", "run_cancelled")
    assert answer.text().startswith("One ")


async def test_stopping_twice_says_that_it_is_over(model: ModelServer, world: World) -> None:
    _sent, run = await answered(model, world, Answer(say=("done",)))
    async with chat_socket(model.server, world.acme, "alice") as socket:
        refused = await socket.ask("run.cancel", run=run["id"])
    assert refused["error"]["code"] == "run_finished"


async def begun(model: ModelServer, socket: ChatSocket, *texts: str) -> Frame:
    """Begin an answer and wait for its first text; the others are held. Return the ack."""
    model.upstream.expect(say=texts, held_after=1)
    sent = await socket.say("First", assistant=model.acme)
    await socket.until_event("thread.message.delta")
    return sent


async def test_a_queued_message_waits_and_is_answered(model: ModelServer, world: World) -> None:
    async with chat_socket(model.server, world.acme, "alice") as socket:
        first = await begun(model, socket, *"abcdef")
        model.upstream.expect(say=("second answer",))
        thread = first["thread"]["id"]
        second = await socket.say("Second", assistant=model.acme, thread=thread)
        assert second["queued"]
        assert second["run"] is None
        model.upstream.go_on()
        await socket.until_ended(first["run"]["id"])
        await socket.until(
            lambda f: f["event"] == "thread.run.completed" and f["run"] != first["run"]["id"]
        )
    messages = await in_db(stored_messages, world.acme, thread)
    assert [m.text() for m in messages] == ["First", "abcdef", "Second", "second answer"]


async def test_a_queued_message_can_be_withdrawn(model: ModelServer, world: World) -> None:
    async with chat_socket(model.server, world.acme, "alice") as socket:
        first = await begun(model, socket, *"abcdef")
        thread = first["thread"]["id"]
        second = await socket.say("Second", assistant=model.acme, thread=thread)
        gone = await socket.ask("message.delete_queued", message=second["message"]["id"])
        assert gone["type"] == "ack"
        model.upstream.go_on()
        await socket.until_ended(first["run"]["id"])
    messages = await in_db(stored_messages, world.acme, thread)
    assert [m.text() for m in messages] == ["First", "abcdef"]


async def test_interrupt_stops_and_answers_the_new_one(model: ModelServer, world: World) -> None:
    async with chat_socket(model.server, world.acme, "alice") as socket:
        first = await begun(model, socket, *"abcdefghij")
        model.upstream.expect(say=("new answer",))
        thread = first["thread"]["id"]
        await socket.say("Rather this", assistant=model.acme, thread=thread, busy="interrupt")
        ended = await socket.until_ended(first["run"]["id"])
        assert ended["atrium"]["reason"] == "interrupted"
        await socket.until(lambda f: f["event"] == "thread.run.completed")
    messages = await in_db(stored_messages, world.acme, thread)
    assert [m.text() for m in messages][2:] == ["Rather this", "new answer"]


async def test_reject_refuses_with_the_apis_words(model: ModelServer, world: World) -> None:
    async with chat_socket(model.server, world.acme, "alice") as socket:
        first = await begun(model, socket, *"abcdef")
        thread, run = first["thread"]["id"], first["run"]["id"]
        refused = await socket.say("No", assistant=model.acme, thread=thread, busy="reject")
        expected = f"Can't add messages to {thread} while a run {run} is active."
        assert refused["error"]["message"] == expected
        model.upstream.go_on()
        await socket.until_ended(run)


async def test_a_repeated_send_is_the_same_message(model: ModelServer, world: World) -> None:
    model.upstream.expect(say=("once",))
    async with chat_socket(model.server, world.acme, "alice") as socket:
        first = await socket.say("Hello", assistant=model.acme, client_id="same")
        again = await socket.say("Hello", assistant=model.acme, client_id="same")
        assert again["message"]["id"] == first["message"]["id"]
        assert again["thread"]["id"] == first["thread"]["id"]
        await socket.until_ended(first["run"]["id"])


async def test_reconnecting_in_mid_answer_brings_each_character_once(
    model: ModelServer, world: World
) -> None:
    words = tuple(f"w\U0001f600{number} " for number in range(12))
    async with chat_socket(model.server, world.acme, "alice") as socket:
        sent = await begun(model, socket, *words)
        created = await socket.until(
            lambda f: f["event"] == "thread.message.created" and f["data"]["role"] == "assistant"
        )
        message = created["data"]["id"]
        have = socket.text_of(message)
        state = socket.events[-1]["state"]
    cursor = {
        "run": sent["run"]["id"],
        "state": state,
        "items": [[message, 0, "text", len(have)]],
    }
    async with chat_socket(model.server, world.acme, "alice") as socket:
        await socket.ask("subscribe", thread=sent["thread"]["id"], cursor=cursor)
        model.upstream.go_on()
        await socket.until_ended(sent["run"]["id"])
        assert have + socket.text_of(message) == "".join(words)


async def test_a_long_thread_keeps_its_first_and_newest_messages(
    model: ModelServer, world: World
) -> None:
    async with chat_socket(model.server, world.acme, "alice") as socket:
        thread = None
        for number in range(8):
            model.upstream.expect(say=(f"answer {number} ",))
            text = f"question {number} " + "x" * 400
            sent = await socket.say(text, assistant=model.acme, thread=thread)
            thread = sent["thread"]["id"]
            await socket.until_ended(sent["run"]["id"])
    body = str(model.upstream.model_requests()[-1].body)
    assert "question 0" in body
    assert "question 7" in body
    assert "question 2" not in body
    assert "search_thread" in body


async def test_disabling_a_member_stops_their_answer_and_closes_their_socket(
    model: ModelServer, world: World
) -> None:
    async with chat_socket(model.server, world.acme, "alice") as socket:
        sent = await begun(model, socket, "word ", "word ")
        await in_db(disable_member, world.acme.principal("adam"), world.acme.alice.pk)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.until_ended("never")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4001
    run = await in_db(stored_run, world.acme, sent["run"]["id"])
    while run.status == "in_progress":
        run = await in_db(stored_run, world.acme, sent["run"]["id"])
    assert (run.status, run.reason) == ("failed", "access_ended")


async def test_a_kept_conversation_gets_only_what_is_new(
    conversing: ModelServer, world: World
) -> None:
    upstream = conversing.upstream
    async with chat_socket(conversing.server, world.acme, "alice") as socket:
        upstream.expect(say=("One",))
        sent = await socket.say("first question", assistant=conversing.acme)
        await socket.until_ended(sent["run"]["id"])
        upstream.expect(say=("Two",))
        thread = sent["thread"]["id"]
        again = await socket.say("second question", assistant=conversing.acme, thread=thread)
        await socket.until_ended(again["run"]["id"])
        body = str(upstream.model_requests()[-1].body)
        assert "second question" in body
        assert "first question" not in body


async def test_a_lost_conversation_is_rebuilt_from_the_rows(
    conversing: ModelServer, world: World
) -> None:
    upstream = conversing.upstream
    async with chat_socket(conversing.server, world.acme, "alice") as socket:
        upstream.expect(say=("One",))
        sent = await socket.say("first question", assistant=conversing.acme)
        await socket.until_ended(sent["run"]["id"])
        upstream.conversations.clear()
        upstream.fallback = Answer(say=("Two",))
        thread = sent["thread"]["id"]
        again = await socket.say("second question", assistant=conversing.acme, thread=thread)
        run = await socket.until_ended(again["run"]["id"])
        body = str(upstream.model_requests()[-1].body)
    assert run["status"] == "completed"
    assert "first question" in body
