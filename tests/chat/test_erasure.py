"""Deleted threads are erased when their undo is over."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from chat.conf import conf
from chat.models import Message, Thread, ThreadMapping
from chat.runs import upstreams
from chat.tasks import erase_deleted_threads, forget_conversation
from chat.upstream.base import Capabilities
from chat.upstream.errors import UpstreamUnavailable
from chat.upstream.scripted import ScriptedUpstream
from tenants.db import in_db
from tests.world import Company, World


class Keeping(ScriptedUpstream):
    """A server that keeps conversations, and may be away."""

    def __init__(self, *, away: bool) -> None:
        super().__init__("demo")
        self.away = away
        self.deleted: list[str] = []

    async def create_conversation(self) -> str:
        return "conv_1"

    async def delete_conversation(self, conversation: str) -> None:
        if self.away:
            raise UpstreamUnavailable("It is away.")
        self.deleted.append(conversation)

    async def probe(self, *, model: str | None = None) -> Capabilities:
        return Capabilities(conversations=True)


def deleted_thread(company: Company, *, seconds_ago: float, copy: str = "") -> str:
    """Make a thread with a message that was deleted so long ago; return its id."""
    with company.scope():
        thread = Thread.objects.create(
            member=company.people["gina" if "gina" in company.people else "alice"],
            deleted_at=timezone.now() - timedelta(seconds=seconds_ago),
        )
        Message.objects.create(thread=thread, position=1, role="user")
        if copy:
            ThreadMapping.objects.create(thread=thread, upstream="demo", external_id=copy)
        return str(thread.pk)


def kept(company: Company, thread_id: str) -> tuple[bool, bool]:
    """Tell whether the thread and its message are there."""
    with company.scope():
        return (
            Thread.objects.filter(pk=thread_id).exists(),
            Message.objects.filter(thread_id=thread_id).exists(),
        )


def keeping(monkeypatch: pytest.MonkeyPatch, *, away: bool) -> Keeping:
    server = Keeping(away=away)
    monkeypatch.setattr(upstreams, "get_upstream", lambda name: server)
    return server


async def erase() -> None:
    await erase_deleted_threads.func(timestamp=0)


async def test_what_is_past_its_undo_goes_with_its_messages(world: World) -> None:
    old = await in_db(deleted_thread, world.acme, seconds_ago=conf.undo_seconds + 1)
    new = await in_db(deleted_thread, world.globex, seconds_ago=conf.undo_seconds - 60)
    await erase()
    assert await in_db(kept, world.acme, old) == (False, False)
    assert await in_db(kept, world.globex, new) == (True, True)


async def test_the_copy_at_the_model_server_goes_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = keeping(monkeypatch, away=False)
    await in_db(deleted_thread, world.acme, seconds_ago=conf.undo_seconds + 1, copy="conv_acme")
    await erase()
    assert server.deleted == ["conv_acme"]


async def test_a_server_that_is_away_holds_up_its_own_thread_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping(monkeypatch, away=True)
    seconds = conf.undo_seconds + 1
    held = await in_db(deleted_thread, world.acme, seconds_ago=seconds + 10, copy="conv_acme")
    free = await in_db(deleted_thread, world.globex, seconds_ago=seconds)
    await erase()
    assert await in_db(kept, world.acme, held) == (True, True)
    assert await in_db(kept, world.globex, free) == (False, False)


async def test_a_conversation_that_no_thread_refers_to_is_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = keeping(monkeypatch, away=False)
    await forget_conversation.func(upstream="demo", conversation="conv_acme")
    assert server.deleted == ["conv_acme"]
