"""Undoing the deletion of a chat."""

from __future__ import annotations

from uuid import uuid4

from chat.actions.messages import Sent, create_message
from chat.actions.threads import delete_thread, restore_thread
from chat.models import Message, Run
from tests.world import World


def say(world: World, text: str, *, thread: str | None = None) -> Sent:
    return create_message(
        world.acme.principal("alice"),
        thread,
        assistant_id=world.acme.assistant.pk,
        text=text,
        client_id=str(uuid4()),
    )


def test_a_message_that_waited_is_answered_after_the_undo(world: World) -> None:
    first = say(world, "one")
    waiting = say(world, "two", thread=first.thread.pk)
    assert waiting.message.position is None
    alice = world.acme.principal("alice")
    delete_thread(alice, first.thread.pk)
    restore_thread(alice, first.thread.pk)
    with world.acme.scope():
        placed = Message.objects.get(pk=waiting.message.pk)
        run = Run.objects.active().get(thread=first.thread)
        assert run.through_position == placed.position


def test_an_undo_starts_nothing_where_nothing_waited(world: World) -> None:
    sent = say(world, "one")
    alice = world.acme.principal("alice")
    delete_thread(alice, sent.thread.pk)
    restore_thread(alice, sent.thread.pk)
    with world.acme.scope():
        assert not Run.objects.active().exists()
