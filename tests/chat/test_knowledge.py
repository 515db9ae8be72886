"""Answers from documents: what a search finds, and citations that hold."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chat.models import File, StoreFile, VectorStore
from tenants.db import in_db
from tests.chat.at_work import Stored, Told, idle, say, stored, working
from tests.chat.knowing import (
    GUIDE,
    POLICY,
    add_file,
    make_reader,
    make_store,
    searching,
    text_of,
)
from tests.upstream.script import Answer
from tests.upstream.server import ScriptedServer
from tests.world import World


@pytest.fixture
def reader(world: World) -> str:
    """An assistant of acme that has the returns policy and the guide."""
    store = make_store(world.acme)
    add_file(world.acme, store, POLICY)
    add_file(world.acme, store, GUIDE, "Guide.pdf", pages=(0, 23, 90))
    return make_reader(world.acme, store)


async def answered(
    world: World, server: ScriptedServer, reader: str, *answers: Answer, thread: str | None = None
) -> Stored:
    """Ask as alice and return the run once it has ended."""
    for answer in answers:
        server.expect(answer)
    sent = await say(world.acme, assistant=reader, thread=thread)
    await idle()
    assert sent.run is not None
    return await stored(world.acme, sent.run.pk)


def outputs(server: ScriptedServer) -> list[dict[str, Any]]:
    """Return what the model was last told by searches."""
    items = server.model_requests()[-1].body["input"]
    texts = [item["output"] for item in items if item.get("type") == "function_call_output"]
    return [json.loads(text)["untrusted_content"] for text in texts]


def streamed(told: Told) -> str:
    return "".join(data["text"] for _run, name, data in told.events if name == "text")


def said(run: Stored) -> dict[str, Any]:
    return text_of(run.messages[-1])


async def test_a_mark_becomes_a_citation_of_the_sentence_it_follows(
    world: World, reader: str, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(monkeypatch, upstream_server) as told:
        run = await answered(
            world,
            upstream_server,
            reader,
            searching(),
            Answer(say=("Refunds take five ", "working days {mark 1}", ". 🙂 Bye.")),
        )
    text = said(run)
    [citation] = text["annotations"]
    mark = text["value"][citation["start_index"] : citation["end_index"]]
    assert mark == citation["text"] == f"【{mark[1:5]}:1†Returns policy.md】"
    assert citation["file_citation"]["quote"] == "They take five working days."
    assert (citation["atrium"]["number"], citation["atrium"]["page"]) == (1, None)
    assert streamed(told) == text["value"]


@pytest.mark.parametrize("letters", [False, True])
async def test_a_mark_that_stands_for_nothing_is_taken_out(
    world: World,
    reader: str,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    letters: bool,
) -> None:
    said_by_model = "A【zzzz:1†Other.md】 b{mark 1} c【4:0†source】 d 【重要】 e 【draft"
    async with working(monkeypatch, upstream_server) as told:
        run = await answered(
            world,
            upstream_server,
            reader,
            searching(),
            Answer(say=(said_by_model,), letters=letters),
        )
    text = said(run)
    [citation] = text["annotations"]
    assert text["value"] == f"A b{citation['text']} c d 【重要】 e 【draft"
    assert streamed(told) == text["value"]


async def test_a_number_counts_passages_not_marks(
    world: World, reader: str, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(monkeypatch, upstream_server):
        run = await answered(
            world,
            upstream_server,
            reader,
            searching("blender jar warranty"),
            Answer(say=("One{mark 2} two{mark 1} three{mark 2}.",)),
        )
    citations = said(run)["annotations"]
    assert [one["atrium"]["number"] for one in citations] == [1, 2, 1]


async def test_a_citation_names_the_page_of_its_quote(
    world: World, reader: str, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(monkeypatch, upstream_server):
        run = await answered(
            world,
            upstream_server,
            reader,
            searching("motor base into water"),
            Answer(say=("Keep the motor base out of the water {mark 1}.",)),
        )
    [citation] = said(run)["annotations"]
    assert citation["atrium"]["page"] == 3
    assert citation["file_citation"]["quote"] == "Do not put the motor base into water."


async def test_marks_of_an_earlier_answer_still_resolve(
    world: World, reader: str, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(monkeypatch, upstream_server):
        first = await answered(
            world, upstream_server, reader, searching(), Answer(say=("Yes {mark 1}.",))
        )
        again = Answer(say=("As I said: 30 days {mark 1}.",))
        second = await answered(world, upstream_server, reader, again, thread=first.run.thread_id)
    assert said(second)["annotations"][0]["text"] == said(first)["annotations"][0]["text"]


async def test_a_mark_of_another_thread_is_taken_out(
    world: World, reader: str, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(monkeypatch, upstream_server):
        first = await answered(
            world, upstream_server, reader, searching(), Answer(say=("Yes {mark 1}.",))
        )
        [citation] = said(first)["annotations"]
        other = Answer(say=(f"Yes {citation['text']}.",))
        second = await answered(world, upstream_server, reader, other)
    assert said(second) == {"value": "Yes .", "annotations": []}


@pytest.mark.parametrize("change", ["deleted", "removed", "changed", "store"])
async def test_a_mark_whose_source_is_gone_is_taken_out(
    world: World,
    reader: str,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    def take_away() -> None:
        with world.acme.scope():
            if change == "deleted":
                File.objects.update(deleted_at="2026-01-01T00:00Z")
            elif change == "removed":
                StoreFile.objects.all().delete()
            elif change == "store":
                VectorStore.objects.update(deleted_at="2026-01-01T00:00Z")
            else:
                StoreFile.objects.update(text="Something else." * 50)

    async with working(monkeypatch, upstream_server, patience=5.0):
        upstream_server.expect(searching())
        upstream_server.expect(Answer(say=("Yes", " {mark 1}."), delay=0.5))
        sent = await say(world.acme, assistant=reader)
        await in_db(upstream_server.wait_for_requests, 2)
        await in_db(take_away)
        await idle()
        assert sent.run is not None
        run = await stored(world.acme, sent.run.pk)
    assert said(run) == {"value": "Yes .", "annotations": []}
