"""What happens with a message while an answer is under way, as the assistant is set."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from django.conf import settings

from chat.actions.runs.create import create_run
from chat.actions.runs.manage import cancel_run, retry_run
from chat.actions.send_message import delete_queued_message
from chat.errors import NothingToRetry, QueueFull, ThreadBusy, TooManyRuns
from chat.models import Assistant, Message, Run, Thread
from chat.models.reasons import Reason
from chat.models.runs import CUT_SHORT_STATUSES
from chat.runs.endings import build_failure
from chat.runs.state import recovery
from tenants.actions import revoke_api_key
from tenants.authentication import Principal, get_run_principal
from tenants.db import in_db
from tests.chat import at_work
from tests.chat.at_work import assistant_on, idle, stored, working
from tests.chat.saying import said
from tests.model_server import ModelServer
from tests.socket_client import ChatSocket, Frame, chat_socket
from tests.upstream.script import Answer
from tests.upstream.server import ScriptedServer
from tests.world import World


def set_policy(world: World, policy: str) -> None:
    with world.acme.scope():
        Assistant.objects.filter(pk=world.acme.assistant.pk).update(busy_policy=policy)


def test_it_waits_unless_the_assistant_is_set_otherwise(world: World) -> None:
    first = said(world.acme)
    assert said(world.acme, thread=first.thread.pk).run is None


def test_an_assistant_may_refuse(world: World) -> None:
    set_policy(world, "reject")
    first = said(world.acme)
    with pytest.raises(ThreadBusy):
        said(world.acme, thread=first.thread.pk)


def test_an_assistant_may_be_interrupted(world: World) -> None:
    set_policy(world, "interrupt")
    first = said(world.acme)
    said(world.acme, thread=first.thread.pk)
    assert first.run is not None
    with world.acme.scope():
        assert Run.objects.get(pk=first.run.pk).reason == "interrupted"


def test_a_message_may_ask_for_something_else(world: World) -> None:
    set_policy(world, "reject")
    first = said(world.acme)
    assert said(world.acme, thread=first.thread.pk, busy="queue").run is None


@pytest.mark.parametrize("busy", [None, "interrupt"])
def test_a_chat_keeps_only_so_many_messages_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch, busy: str | None
) -> None:
    monkeypatch.setitem(settings.CHAT, "QUEUED_MESSAGES", 2)
    first = said(world.acme)
    thread = first.thread.pk
    waiting = [said(world.acme, thread=thread).message for _message in range(2)]
    with pytest.raises(QueueFull):
        said(world.acme, thread=thread, busy=busy)
    with world.acme.scope():
        assert list(Message.objects.filter(thread=thread).queued()) == waiting
        assert Run.objects.get(pk=first.run and first.run.pk).is_active
    delete_queued_message(world.acme.principal("alice"), waiting[0].pk)
    assert said(world.acme, thread=thread).message.position is None


def with_key(world: World, name: str = "alice") -> Principal:
    """Return the principal of a program that acts with this person's key."""
    return replace(world.acme.principal(name), key=world.acme.keys[name])


def finish(world: World, run: Run | None) -> None:
    """Let a run that no process has end as if it had failed, and start what waits."""
    assert run is not None
    with world.acme.scope():
        recovery.end_row(run, build_failure(Reason.SERVER_ERROR), owner=None)


def active(world: World, thread: str) -> Run:
    with world.acme.scope():
        found: Run = Run.objects.active().get(thread_id=thread)
        return found


def test_what_waited_is_answered_with_its_senders_key(world: World) -> None:
    first = said(world.acme)
    waits = said(world.acme, thread=first.thread.pk, by=with_key(world))
    finish(world, first.run)
    run = active(world, waits.thread.pk)
    assert run.key_id == world.acme.keys["alice"].pk


def test_what_waited_is_not_answered_once_its_key_is_revoked(world: World) -> None:
    first = said(world.acme)
    said(world.acme, thread=first.thread.pk, by=with_key(world))
    revoke_api_key(world.acme.principal("alice"), world.acme.keys["alice"].pk)
    finish(world, first.run)
    run = active(world, first.thread.pk)
    with world.acme.scope():
        assert get_run_principal(run.tenant_id, run.member_id, run.key_id) is None


async def test_without_an_assistant_what_waits_ends_with_a_sentence(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream_server.expect(say=("word ",) * 2, held_after=1)
    async with working(monkeypatch, upstream_server) as told:
        assistant = await assistant_on(world.acme, "responses")
        first = await at_work.say(world.acme, assistant=assistant)
        await told.until("text")
        for _message in range(2):
            await at_work.say(world.acme, thread=first.thread.pk, assistant=assistant)
        await in_db(switch_off, world)
        upstream_server.go_on()
        await idle()
    assert first.run is not None
    one = await stored(world.acme, first.run.pk)
    assert [message.position for message in one.messages] == [1, 2, 3, 4]
    assert await in_db(ends_of, world, first.thread.pk) == [
        ("completed", ""),
        ("failed", "no_assistant"),
        ("failed", "no_assistant"),
    ]


def switch_off(world: World) -> None:
    with world.acme.scope():
        Assistant.objects.update(enabled=False)


def ends_of(world: World, thread: str) -> list[tuple[str, str]]:
    with world.acme.scope():
        runs = Run.objects.filter(thread_id=thread).order_by("created_at")
        return list(runs.values_list("status", "reason"))


def test_a_run_cancelled_in_line_waits_no_more(world: World) -> None:
    first, principal = said(world.acme), world.acme.principal("alice")
    assistant = world.acme.assistant.pk
    waits = create_run(principal, first.thread.pk, assistant_id=assistant, busy="queue")
    cancelled = cancel_run(principal, waits.pk)
    assert (waits.waiting, cancelled.status, cancelled.waiting) == (True, "cancelled", False)
    assert active(world, first.thread.pk) == first.run


def test_a_member_has_only_so_many_answers_under_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.CHAT, "RUNS_PER_MEMBER", 1)
    first = said(world.acme)
    with pytest.raises(TooManyRuns):
        said(world.acme)
    assert said(world.acme, by="bob").run is not None
    assert said(world.acme, thread=first.thread.pk).run is None


def test_a_company_has_only_so_many_answers_under_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.CHAT, "RUNS_PER_TENANT", 1)
    said(world.acme)
    with pytest.raises(TooManyRuns):
        said(world.acme, by="bob")


def test_a_refused_message_is_not_stored(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.CHAT, "RUNS_PER_TENANT", 1)
    said(world.acme)
    with world.acme.scope():
        before = Message.objects.count(), Thread.objects.count()
    with pytest.raises(TooManyRuns):
        said(world.acme)
    with world.acme.scope():
        assert (Message.objects.count(), Thread.objects.count()) == before


def end_with(world: World, run: Run | None, status: str) -> None:
    assert run is not None
    reason = "" if status == "completed" else "server_error"
    with world.acme.scope():
        Run.objects.filter(pk=run.pk).update(status=status, reason=reason)


@pytest.mark.parametrize("status", CUT_SHORT_STATUSES)
def test_an_answer_that_was_cut_short_may_be_asked_for_again(world: World, status: str) -> None:
    first = said(world.acme)
    end_with(world, first.run, status)
    again = retry_run(world.acme.principal("alice"), first.thread.pk)
    assert (again.status, again.through_position) == ("queued", 1)


def test_a_complete_answer_is_not_asked_for_again(world: World) -> None:
    first = said(world.acme)
    end_with(world, first.run, "completed")
    with pytest.raises(NothingToRetry):
        retry_run(world.acme.principal("alice"), first.thread.pk)


def test_an_answer_under_way_is_not_asked_for_again(world: World) -> None:
    first = said(world.acme)
    with pytest.raises(ThreadBusy):
        retry_run(world.acme.principal("alice"), first.thread.pk)


@pytest.mark.slow
async def test_two_devices_that_write_at_once_lose_nothing_and_see_one_order(
    model: ModelServer, world: World
) -> None:
    model.upstream.fallback = Answer(say=("ok",))
    async with (
        chat_socket(model.server, world.acme, "alice") as phone,
        chat_socket(model.server, world.acme, "alice") as laptop,
    ):
        sent = await phone.say("start", assistant=model.acme)
        thread = sent["thread"]["id"]
        await laptop.ask("subscribe", thread=thread, cursor=None)

        async def write(socket: ChatSocket, name: str) -> None:
            for number in range(50):
                text = f"{name} {number}"
                said = await socket.say(text, assistant=model.acme, thread=thread, busy="queue")
                assert said["type"] == "ack"

        await asyncio.gather(write(phone, "phone"), write(laptop, "laptop"))
        # Both at once: a socket that nobody reads answers no pings.
        orders = await asyncio.gather(*(placed(socket, 100) for socket in (phone, laptop)))
    stored_order = await in_db(order_of, world, thread)
    assert sorted(stored_order) == sorted(
        f"{name} {number}" for name in ("phone", "laptop") for number in range(50)
    )
    assert orders == [stored_order, stored_order]


async def placed(socket: ChatSocket, count: int) -> list[str]:
    """Return the texts of the messages that were given a place, once there are `count`."""
    found: list[str] = []

    def all_there(frame: Frame) -> bool:
        data = frame["data"]
        if frame["event"] == "thread.message.created" and data["role"] == "user":
            text = data["content"][0]["text"]["value"]
            if text != "start":
                found.append(text)
        return len(found) == count

    await socket.until(all_there)
    return found


def order_of(world: World, thread: str) -> list[str]:
    with world.acme.scope():
        said = Message.objects.filter(thread_id=thread, role="user", position__gt=1)
        return [message.text() for message in said.order_by("position")]


async def test_the_rule_for_a_busy_chat_holds_on_a_device_that_joined_later(
    model: ModelServer, world: World
) -> None:
    model.upstream.expect(say=("word ",) * 2, held_after=1)
    model.upstream.expect(say=("second",))
    async with chat_socket(model.server, world.acme, "alice") as phone:
        first = await phone.say("one", assistant=model.acme)
        thread = first["thread"]["id"]
        waits = await phone.say("two", assistant=model.acme, thread=thread)
    async with chat_socket(model.server, world.acme, "alice") as laptop:
        await laptop.ask("subscribe", thread=thread, cursor=None)
        refused = await laptop.say("three", assistant=model.acme, thread=thread, busy="reject")
        model.upstream.go_on()
        await laptop.until_event("thread.message.created")
        created = await laptop.until(
            lambda frame: (
                frame["event"] == "thread.message.created"
                and frame["data"]["id"] == waits["message"]["id"]
            )
        )
        run = await laptop.until(
            lambda frame: (
                frame["event"] == "thread.run.created" and frame["run"] != first["run"]["id"]
            )
        )
        await laptop.until_ended(run["run"])
    assert waits["queued"]
    assert refused["error"]["code"] == "thread_busy"
    assert created["data"]["atrium"]["queued"] is False
