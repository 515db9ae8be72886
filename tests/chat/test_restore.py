"""Undoing the deletion of a chat."""

from __future__ import annotations

from chat.actions.threads import delete_thread, restore_thread
from chat.models import Message, Run
from tests.chat.saying import said
from tests.world import World


def test_a_message_that_waited_is_answered_after_the_undo(world: World) -> None:
    first = said(world.acme, "one")
    waiting = said(world.acme, "two", thread=first.thread.pk)
    assert waiting.message.position is None
    alice = world.acme.principal("alice")
    delete_thread(alice, first.thread.pk)
    restore_thread(alice, first.thread.pk)
    with world.acme.scope():
        placed = Message.objects.get(pk=waiting.message.pk)
        run = Run.objects.active().get(thread=first.thread)
        assert run.through_position == placed.position


def test_an_undo_starts_nothing_where_nothing_waited(world: World) -> None:
    sent = said(world.acme, "one")
    alice = world.acme.principal("alice")
    delete_thread(alice, sent.thread.pk)
    restore_thread(alice, sent.thread.pk)
    with world.acme.scope():
        assert not Run.objects.active().exists()
