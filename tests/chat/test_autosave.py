"""Autosaves of several answers: a row that somebody holds keeps no other text from being saved."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import orjson
import pytest
from django.db import OperationalError

from chat.models import Message, Run
from chat.runs.state.claims import Claim
from chat.runs.state.drafts import DraftSnapshot, insert_snapshot, update_snapshots
from tests.chat.saying import unclaimed_run
from tests.database import TestDatabase
from tests.world import World


def text(value: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": {"value": value, "annotations": []}}]


def growing(world: World) -> DraftSnapshot:
    """Return the next copy of an answer that was stored before."""
    run = unclaimed_run(world.acme)
    with world.acme.scope():
        run.owner, run.token, run.status = uuid4(), 1, "in_progress"
        run.save()
        message = Message.objects.create(
            thread_id=run.thread_id,
            role="assistant",
            status="in_progress",
            position=1000,
            run_ref=run.pk,
            content=text("before"),
        )
    draft: Any = SimpleNamespace(message=message)
    return DraftSnapshot(
        claim=Claim.of(run), draft=draft, state=1, content=orjson.dumps(text("after")).decode()
    )


def stored(world: World, copy: DraftSnapshot) -> str:
    with world.acme.scope():
        return str(Message.objects.get(pk=copy.draft.message.pk).text())


def test_a_held_message_is_left_for_the_next_save(world: World, database: TestDatabase) -> None:
    held, other = growing(world), growing(world)
    claimed = {held.claim.run_id, other.claim.run_id}
    with database.cluster.connect_as_superuser(database.name) as holder, holder.transaction():
        pk = held.draft.message.pk
        holder.execute("SELECT FROM chat_message WHERE id = %s FOR UPDATE", [pk])
        assert update_snapshots([held, other]) == claimed
        assert (stored(world, held), stored(world, other)) == ("before", "after")
    assert update_snapshots([held]) == {held.claim.run_id}
    assert stored(world, held) == "after"


def test_a_copy_of_a_lost_run_is_not_stored(world: World) -> None:
    lost, other = growing(world), growing(world)
    with world.acme.scope():
        Run.objects.filter(pk=lost.claim.run_id).update(token=2)
    assert update_snapshots([lost, other]) == {other.claim.run_id}
    assert (stored(world, lost), stored(world, other)) == ("before", "after")


def test_a_first_copy_does_not_wait_for_a_held_thread(world: World, database: TestDatabase) -> None:
    copy = growing(world)
    with database.cluster.connect_as_superuser(database.name) as holder, holder.transaction():
        pk = copy.draft.message.thread_id
        holder.execute("SELECT FROM chat_thread WHERE id = %s FOR UPDATE", [pk])
        with pytest.raises(OperationalError, match="lock timeout"):
            insert_snapshot([copy])
