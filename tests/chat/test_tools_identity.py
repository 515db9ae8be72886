"""A model names other people's rows in every argument and gets nothing."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest

from chat.models import Message, Run, Thread
from chat.tools.base import Effect, InjectedArgument, ObjectId, ToolContext
from chat.tools.registry import TOOLS, make_tool
from tenants.models import Membership
from tests.chat.tool_runs import audited, call, open_run, perform, perform_one
from tests.world import World


def read_threads(
    ctx: ToolContext,
    thread: ObjectId[Thread],
    others: list[ObjectId[Thread]] | None = None,
    run: ObjectId[Run] | None = None,
    person: Annotated[
        Membership | None, InjectedArgument(lambda ctx: ctx.principal.membership)
    ] = None,
) -> dict[str, Any]:
    """Read chats."""
    assert person is not None
    return {"thread": thread.title, "others": len(others or []), "person": person.name}


@pytest.fixture(autouse=True)
def _tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TOOLS, "read_threads", make_tool(read_threads, effect=Effect.READ))


def ask(world: World, **arguments: Any) -> Any:
    """Let alice's run call the tool."""
    ctx = open_run(world.acme, "alice", "read_threads")
    return perform_one(world.acme, ctx, "read_threads", json.dumps(arguments))


def test_one_s_own_row_is_given_to_the_tool(world: World) -> None:
    mine = world.acme.threads["alice"]
    row = ask(world, thread=mine.pk, others=[mine.pk, mine.pk])
    assert json.loads(row.output) == {
        "thread": mine.title, "others": 2, "person": world.acme.alice.name,
    }  # fmt: skip
    assert row.bound["thread"] == {"object": "chat.Thread", "id": mine.pk}
    assert row.bound["person"]["id"] == str(world.acme.alice.pk)


def test_foreign_and_missing_ids_get_the_same_answer(world: World) -> None:
    foreign = [
        world.globex.threads["gina"].pk,
        world.acme.threads["bob"].pk,
        "thread_" + "0" * 24,
        "thread_x",
        "' OR 1=1 --",
        "",
        world.globex.runs["gina"].pk,
    ]
    ctx = open_run(world.acme, "alice", "read_threads")
    proposed = [
        call("read_threads", json.dumps({"thread": each}), index=index)
        for index, each in enumerate(foreign)
    ]
    outputs = {row.output for row in perform(world.acme, ctx, *proposed)}
    assert len(outputs) == 1
    assert json.loads(outputs.pop() or "")["error"]["code"] == "not_found"


def test_one_foreign_id_among_many_spoils_the_call(world: World) -> None:
    mine, hers = world.acme.threads["alice"].pk, world.globex.threads["gina"].pk
    row = ask(world, thread=mine, others=[mine, hers])
    assert row.error_code == "not_found"


def test_an_optional_foreign_id_is_refused_as_well(world: World) -> None:
    row = ask(world, thread=world.acme.threads["alice"].pk, run=world.globex.runs["gina"].pk)
    assert row.error_code == "not_found"


def test_what_is_bound_cannot_be_sent(world: World) -> None:
    thread = world.acme.threads["alice"].pk
    row = ask(world, thread=thread, person=str(world.globex.gina.pk))
    assert (row.status, row.error_code) == ("refused", "reserved_argument")
    assert audited(world.acme, row)["security.reserved_argument"]["names"] == ["person"]


def test_an_admin_s_run_reads_no_other_s_chats_either(world: World) -> None:
    ctx = open_run(world.acme, "adam", "read_threads")
    wanted = json.dumps({"thread": world.acme.threads["bob"].pk})
    assert perform_one(world.acme, ctx, "read_threads", wanted).error_code == "not_found"


def search(world: World, name: str, words: str) -> list[dict[str, Any]]:
    """Search in this person's thread."""
    ctx = open_run(world.acme, name)
    row = perform_one(world.acme, ctx, "search_thread", json.dumps({"words": words}))
    found: list[dict[str, Any]] = json.loads(row.output or "")["messages"]
    return found


def test_search_finds_earlier_messages_of_the_same_thread(world: World) -> None:
    found = search(world, "alice", "alice-user nothing")
    assert [(each["role"], each["excerpt"]) for each in found] == [
        ("user", "CANARY-ACME-ALICE-USER")
    ]


def test_search_sees_no_other_thread(world: World) -> None:
    assert search(world, "alice", "BOB GINA GLOBEX") == []


@pytest.mark.parametrize("words", ["%", "_", "' OR 1=1 --", '"', "\\", "annotations", ",", "["])
def test_search_words_are_nothing_but_words(world: World, words: str) -> None:
    assert search(world, "alice", words) == []


def test_search_leaves_out_the_question_itself_and_later_messages(world: World) -> None:
    content = [{"type": "text", "text": {"value": "tent tent", "annotations": []}}]
    with world.acme.scope():
        for position in (3, 4):
            Message.objects.create(
                thread=world.acme.threads["alice"], position=position, role="user", content=content
            )
    assert search(world, "alice", "tent") == []


def test_search_shows_where_in_a_long_message(world: World) -> None:
    text = f"{'begin ' * 200}needle{' end' * 200}"
    with world.acme.scope():
        Message.objects.filter(thread=world.acme.threads["alice"], position=1).update(
            content=[{"type": "text", "text": {"value": text, "annotations": []}}]
        )
    (found,) = search(world, "alice", "NEEDLE")
    assert "needle" in found["excerpt"]
    assert found["excerpt"].startswith("…")
    assert len(found["excerpt"]) < 500
