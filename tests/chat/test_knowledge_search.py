"""The tool that searches documents: whose, how many, how much of them, and what it says beside."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from chat.actions.assistants.tool_definitions import clean_tools
from chat.models import Assistant, File, StoreFile, ToolCall, VectorStore
from chat.models.runs import Run
from chat.retrieval import embed
from chat.tools import dispatch, file_search
from chat.tools.base import ToolContext
from chat.tools.file_search import build_mark, compute_token
from chat.upstream.errors import UpstreamUnavailable
from tenants.db import in_db
from tests.chat.knowing import GUIDE, POLICY, SEARCH, add_file, give_thread, index, make_store
from tests.chat.tool_runs import call, function, open_run, perform_one, prepare
from tests.clock import until
from tests.world import Company, World


@pytest.fixture(autouse=True)
def _words_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "_built", [None])


@pytest.fixture
def library(world: World) -> VectorStore:
    """The documents of acme's assistant."""
    store = make_store(world.acme)
    add_file(world.acme, store, POLICY)
    give_assistant(world.acme, store)
    return store


def give_assistant(company: Company, *stores: VectorStore) -> None:
    resources = {"file_search": {"vector_store_ids": [store.pk for store in stores]}}
    with company.scope():
        rows = Assistant.objects.filter(pk=company.assistant.pk)
        rows.update(tools=[SEARCH], tool_resources=resources)


def search(world: World, query: str = "return a blender", **options: Any) -> ToolCall:
    """Let a run of alice's search, with these options of the wire tool and of the run."""
    ctx = open_run(world.acme, "alice", "file_search")
    names = {"max_num_results", "ranking_options"} & options.keys()
    wire = {name: options.pop(name) for name in names}
    with world.acme.scope():
        tools = [{"type": "file_search", "file_search": wire}]
        Run.objects.filter(pk=ctx.run.pk).update(tools=tools, **options)
        ctx.run.refresh_from_db()
    row = perform_one(world.acme, ctx, "file_search", json.dumps({"query": query}))
    assert row.status == "completed", row.output
    with world.acme.scope():
        Run.objects.filter(pk=ctx.run.pk).update(status="completed")
    return row


def told(row: ToolCall) -> dict[str, Any]:
    """Return what the model was told."""
    found: dict[str, Any] = json.loads(row.output or "")["untrusted_content"]
    return found


def details(row: ToolCall) -> dict[str, Any]:
    """Return what is kept of a search."""
    assert row.details is not None
    found: dict[str, Any] = row.details
    return found


def files_in(row: ToolCall) -> list[str]:
    return [result["file_name"] for result in details(row)["results"]]


def text_at(company: Company, result: dict[str, Any]) -> str:
    """Return what the file has at the place of a result."""
    with company.scope():
        text = StoreFile.objects.get(pk=result["store_file"]).text
    return str(text[result["start"] : result["end"]])


def test_what_an_assistant_may_no_longer_search_no_run_searches(
    world: World, library: VectorStore
) -> None:
    with world.acme.scope():
        Assistant.objects.filter(pk=world.acme.assistant.pk).update(tools=[])
    assert "There are no documents" in (search(world).output or "")


def test_passages_come_with_marks_and_say_how_to_cite(world: World, library: VectorStore) -> None:
    row = search(world)
    [passage] = told(row)["passages"]
    assert passage["mark"] == f"【{compute_token(row.pk)}:1†Returns policy.md】"
    assert "copy the mark" in told(row)["how_to_cite"]
    [result] = details(row)["results"]
    assert text_at(world.acme, result) == result["text"] == passage["text"]


def test_the_documents_of_the_assistant_and_of_the_thread_are_searched_together(
    world: World, library: VectorStore
) -> None:
    own = make_store(world.acme, owner="alice")
    add_file(world.acme, own, GUIDE, "Guide.md")
    give_thread(world.acme, world.acme.threads["alice"].pk, own)
    assert set(files_in(search(world, "blender"))) == {"Guide.md", "Returns policy.md"}


def test_the_assistants_documents_are_those_it_has_now(world: World, library: VectorStore) -> None:
    give_assistant(world.acme, make_store(world.acme))
    assert files_in(search(world)) == []


def test_documents_of_a_deleted_assistant_are_not_searched(
    world: World, library: VectorStore
) -> None:
    ctx = open_run(world.acme, "alice", "file_search")
    with world.acme.scope():
        Assistant.objects.filter(pk=world.acme.assistant.pk).delete()
        ctx.run.refresh_from_db()
    row = perform_one(world.acme, ctx, "file_search", '{"query": "blender"}')
    assert told(row)["note"] == "There are no documents in this chat to search."


def test_a_store_that_was_unused_for_too_long_is_not_searched(
    world: World, library: VectorStore
) -> None:
    long_ago = timezone.now() - timedelta(days=2)
    with world.acme.scope():
        VectorStore.objects.update(expires_days=1, last_active_at=long_ago)
    assert files_in(search(world)) == []
    with world.acme.scope():
        assert VectorStore.objects.get(pk=library.pk).last_active_at == long_ago


def test_a_search_keeps_a_store_from_expiring(world: World, library: VectorStore) -> None:
    with world.acme.scope():
        VectorStore.objects.update(last_active_at=timezone.now() - timedelta(days=2))
    search(world)
    lately = timezone.now() - timedelta(hours=1)
    with world.acme.scope():
        assert VectorStore.objects.get(pk=library.pk).last_active_at > lately


def test_results_are_as_many_and_as_good_as_asked_for(world: World) -> None:
    store = make_store(world.acme)
    add_file(world.acme, store, "Blender. " * 300, chunk_tokens=100)
    give_assistant(world.acme, store)
    assert len(files_in(search(world, "blender"))) > 3
    assert len(files_in(search(world, "blender", max_num_results=3))) == 3
    best = {"ranker": "auto", "score_threshold": 1.0}
    row = search(world, "blender", ranking_options=best)
    assert [result["score"] for result in details(row)["results"]] == [1.0]
    assert details(row)["ranking_options"] == best


def test_nothing_found_is_said(world: World, library: VectorStore) -> None:
    assert told(search(world, "zeppelin")) == {
        "passages": [],
        "note": "Nothing was found. Rephrase the query, or say that nothing was found.",
    }


def test_a_file_that_could_not_be_read_is_named_with_its_reason(world: World) -> None:
    own = make_store(world.acme, owner="alice")
    row = add_file(world.acme, own, None, "Locked.pdf")
    with world.acme.scope():
        StoreFile.objects.filter(pk=row.pk).update(
            status="failed", error_code="invalid_file", error_message="It has a password."
        )
    give_thread(world.acme, world.acme.threads["alice"].pk, own)
    assert "Locked.pdf cannot be searched: It has a password." in told(search(world))["note"]


def test_a_file_that_is_still_being_read_is_told_of(
    world: World, library: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.CHAT, "FILE_WAIT_SECONDS", 0)
    add_file(world.acme, library, None, "Guide.md")
    row = search(world)
    assert files_in(row) == ["Returns policy.md"]
    assert told(row)["note"].startswith("1 file is still being read")


async def test_a_file_attached_just_now_is_waited_for(world: World) -> None:
    own = await in_db(make_store, world.acme, owner="alice")
    row = await in_db(add_file, world.acme, own, None, "Guide.md")
    await in_db(give_thread, world.acme, world.acme.threads["alice"].pk, own)
    ctx = await in_db(open_run, world.acme, "alice", "file_search")
    asked = call("file_search", '{"query": "motor warranty"}')
    calls = await in_db(prepare, world.acme, ctx, asked)
    searching = asyncio.create_task(dispatch.execute_all(ctx, calls))
    await in_db(index, world.acme, row, GUIDE)
    [done] = await searching
    assert files_in(done) == ["Guide.md"]


async def test_waiting_for_a_file_can_be_stopped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = await in_db(make_store, world.acme, owner="alice")
    await in_db(add_file, world.acme, own, None, "Guide.md")
    await in_db(give_thread, world.acme, world.acme.threads["alice"].pk, own)
    ctx = await in_db(open_run, world.acme, "alice", "file_search")
    calls = await in_db(prepare, world.acme, ctx, call("file_search", '{"query": "motor"}'))
    looks, look = [], file_search._load_sources

    def looked(ctx: ToolContext) -> file_search.SearchSources:
        looks.append(ctx.call_id)
        return look(ctx)

    monkeypatch.setattr(file_search, "_load_sources", looked)
    searching = asyncio.create_task(dispatch.execute_all(ctx, calls))
    await until(lambda: len(looks) > 1)
    searching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await searching

    def status() -> str:
        with world.acme.scope():
            return str(ToolCall.objects.get(pk=calls[0].pk).status)

    assert await in_db(status) == "cancelled"


def test_words_alone_are_searched_while_the_embedder_is_away(
    world: World, library: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away:
        id = "away"
        window_tokens = 100

        async def embed(self, texts: object) -> list[list[float]]:
            raise UpstreamUnavailable("gone")

    monkeypatch.setattr(embed, "_built", [Away()])
    assert files_in(search(world)) == ["Returns policy.md"]


@pytest.mark.parametrize(
    ("tokens", "options"),
    [(600, {}), (24_000, {"max_prompt_tokens": 900}), (24_000, {"instructions": "x" * 80_000})],
)
def test_a_long_document_takes_its_share_of_the_prompt_and_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch, tokens: int, options: dict[str, Any]
) -> None:
    monkeypatch.setitem(settings.CHAT, "PROMPT_TOKENS", tokens)
    store = make_store(world.acme)
    long = "".join(f"Chapter {n}. The heron stands in the reeds and waits. " for n in range(4000))
    add_file(world.acme, store, long + "The heron of Emden is blue.", chunk_tokens=4000)
    give_assistant(world.acme, store)
    row = search(world, "heron Emden blue", **options)
    [result] = details(row)["results"]
    room = min(tokens, options.get("max_prompt_tokens", tokens))
    room -= len(options.get("instructions", "")) // 4
    assert len(result["text"]) // 4 <= room // 3
    assert text_at(world.acme, result) == result["text"]
    assert "heron of Emden is blue" in result["text"]


def test_what_a_search_tells_is_never_cut_within(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.CHAT, "PROMPT_TOKENS", 1_000_000)
    store = make_store(world.acme)
    add_file(world.acme, store, 'A "blender" \\ \n' * 20_000, chunk_tokens=1000)
    give_assistant(world.acme, store)
    row = search(world, "blender", max_num_results=50)
    assert len(told(row)["passages"]) == len(details(row)["results"]) > 5


def test_a_mark_holds_no_part_of_a_name_that_would_end_it() -> None:
    mark = build_mark("call_x", 7, "a】【b†c\n\td" + "é" * 300)
    assert mark.startswith(f"【{compute_token('call_x')}:7†a b c d")
    assert (mark.count("【"), mark.count("】"), len(mark) < 200) == (1, 1, True)


def test_a_program_may_have_a_function_of_that_name(world: World) -> None:
    ctx = open_run(world.acme, "alice")
    ctx.run.tools = clean_tools([function(name="file_search", description="Ours.")], limit=1)
    [row] = prepare(world.acme, ctx, call("file_search", '{"folder": "x"}'))
    assert (row.status, row.version) == ("awaiting_output", "")


@pytest.mark.parametrize("field", ["deleted_at", "expires_at"])
def test_passages_of_a_file_that_is_gone_are_not_found(
    world: World, library: VectorStore, field: str
) -> None:
    with world.acme.scope():
        File.objects.update(**{field: timezone.now()})
    assert files_in(search(world)) == []
