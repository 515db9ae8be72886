"""What happens with a message while an answer is under way, as the assistant is set."""

from __future__ import annotations

from uuid import uuid4

import pytest

from chat.actions.messages import Sent, create_message
from chat.errors import ThreadBusy
from chat.models import Assistant, Run
from tests.world import World


def say(world: World, *, thread: str | None = None, busy: str | None = None) -> Sent:
    return create_message(
        world.acme.principal("alice"),
        thread,
        assistant_id=world.acme.assistant.pk,
        text="Hello",
        client_id=str(uuid4()),
        busy=busy,
    )


def set_policy(world: World, policy: str) -> None:
    with world.acme.scope():
        Assistant.objects.filter(pk=world.acme.assistant.pk).update(busy_policy=policy)


def test_it_waits_unless_the_assistant_is_set_otherwise(world: World) -> None:
    first = say(world)
    assert say(world, thread=first.thread.pk).run is None


def test_an_assistant_may_refuse(world: World) -> None:
    set_policy(world, "reject")
    first = say(world)
    with pytest.raises(ThreadBusy):
        say(world, thread=first.thread.pk)


def test_an_assistant_may_be_interrupted(world: World) -> None:
    set_policy(world, "interrupt")
    first = say(world)
    say(world, thread=first.thread.pk)
    assert first.run is not None
    with world.acme.scope():
        assert Run.objects.get(pk=first.run.pk).reason == "interrupted"


def test_a_message_may_ask_for_something_else(world: World) -> None:
    set_policy(world, "reject")
    first = say(world)
    assert say(world, thread=first.thread.pk, busy="queue").run is None
