"""Vector stores over the API: what is in them, how it gets there, and what is found."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from chat.models import Chunk, StoreFile, VectorStore
from chat.retrieval import embed
from chat.retrieval.pipeline import index_file
from chat.tasks import erase_files, erase_stores
from tests.api.conftest import Api, assert_error, program_of, uploaded
from tests.api.published import assert_published
from tests.retrieval import files as hostile
from tests.world import World

NOTHING = {"in_progress": 0, "completed": 0, "cancelled": 0, "failed": 0, "total": 0}
STATIC = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 50}}


@pytest.fixture(autouse=True)
def _by_words(stored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "_built", [None])


def read_all(world: World) -> None:
    """Do what the jobs that wait would do."""
    jobs = list(ProcrastinateJob.objects.filter(task_name="chat.tasks.index_store_file"))
    for job in jobs:
        assert job.args["tenant_id"] == str(world.acme.tenant.pk)
        asyncio.run(index_file(world.acme.tenant.pk, job.args["store_file_id"]))


def store_with(api: Api, world: World, **texts: str) -> str:
    """Return a store with these files, read."""
    ids = [uploaded(api, text.encode(), f"{name}.txt")["id"] for name, text in texts.items()]
    made = api.made("vector_stores", file_ids=ids)
    read_all(world)
    return str(made["id"])


def test_a_new_store_is_empty_and_complete(alice: Api) -> None:
    made = alice.made("vector_stores", name="Shelf", metadata={"a": "b"})
    assert_store(made)
    assert (made["name"], made["status"], made["file_counts"]) == ("Shelf", "completed", NOTHING)
    assert alice.get(f"vector_stores/{made['id']}").json() == made
    assert alice.get("vector_stores").json()["data"] == [made]


def assert_store(made: dict[str, Any]) -> None:
    """Check it against the schema, whose `expires_after` is never null."""
    known = {"anchor": "last_active_at", "days": 1}
    assert_published({**made, "expires_after": made["expires_after"] or known})


def test_what_is_named_changes(alice: Api) -> None:
    made = alice.made("vector_stores", name="A", metadata={"a": "b"})
    after = {"anchor": "last_active_at", "days": 3}
    changed = alice.made(f"vector_stores/{made['id']}", name=None, expires_after=after)
    assert_store(changed)
    assert (changed["name"], changed["metadata"]) == ("", {"a": "b"})
    assert changed["expires_at"] == changed["last_active_at"] + 3 * 86_400


def test_files_are_read_and_counted(alice: Api, world: World) -> None:
    good = uploaded(alice, b"The word is walnut.")["id"]
    bad = uploaded(alice, b"%PDF-1.7 rubbish")["id"]
    made = alice.made("vector_stores", file_ids=[good, bad])
    assert made["status"] == "in_progress"
    assert made["file_counts"] == {**NOTHING, "in_progress": 2, "total": 2}
    read_all(world)
    now = alice.get(f"vector_stores/{made['id']}").json()
    assert (now["status"], now["usage_bytes"] > 0) == ("completed", True)
    assert now["file_counts"] == {**NOTHING, "completed": 1, "failed": 1, "total": 2}


def test_who_has_fewer_files_waiting_is_read_first(alice: Api, world: World) -> None:
    many = [uploaded(alice, text)["id"] for text in (b"one", b"two", b"three")]
    alice.made("vector_stores", file_ids=many)
    other = program_of(world.globex, "gina")
    other.made("vector_stores", file_ids=[uploaded(other, b"four")["id"]])
    waiting = ProcrastinateJob.objects.filter(task_name="chat.tasks.index_store_file")
    first = waiting.order_by("-priority", "id").first()
    assert first is not None
    assert first.args["tenant_id"] == str(world.globex.tenant.pk)


def test_a_failed_file_says_why(alice: Api, world: World) -> None:
    store = alice.made("vector_stores")["id"]
    file_id = uploaded(alice, b"%PDF-1.7 rubbish")["id"]
    made = alice.post(f"vector_stores/{store}/files", {"file_id": file_id})
    assert made.headers["openai-poll-after-ms"] == "500"
    read_all(world)
    found = alice.get(f"vector_stores/{store}/files/{file_id}")
    assert "openai-poll-after-ms" not in found.headers
    assert_published(found.json())
    assert found.json()["last_error"]["code"] == "invalid_file"


def test_one_that_failed_is_read_again_when_it_is_put_in_again(alice: Api, world: World) -> None:
    store = alice.made("vector_stores")["id"]
    file_id = uploaded(alice, b"%PDF-1.7 rubbish")["id"]
    alice.made(f"vector_stores/{store}/files", file_id=file_id)
    read_all(world)
    again = alice.made(f"vector_stores/{store}/files", file_id=file_id, attributes={"n": 1})
    assert (again["status"], again["last_error"], again["attributes"]) == (
        "in_progress",
        None,
        {"n": 1},
    )


def test_attributes_change_and_chunking_is_told_back(alice: Api) -> None:
    store = alice.made("vector_stores")["id"]
    file_id = uploaded(alice, b"words")["id"]
    made = alice.made(f"vector_stores/{store}/files", file_id=file_id, chunking_strategy=STATIC)
    assert made["chunking_strategy"] == STATIC
    path = f"vector_stores/{store}/files/{file_id}"
    assert alice.made(path, attributes={"year": 2026})["attributes"] == {"year": 2026}
    assert alice.made(path, {"attributes": None})["attributes"] == {}


def test_the_text_of_a_file_can_be_read(alice: Api, world: World) -> None:
    store = store_with(alice, world, a="The word is walnut.")
    [one] = alice.get(f"vector_stores/{store}/files").json()["data"]
    page = assert_published(alice.get(f"vector_stores/{store}/files/{one['id']}/content").json())
    assert page["data"] == [{"type": "text", "text": "The word is walnut."}]


def test_a_search_finds_passages_with_their_files(alice: Api, world: World) -> None:
    store = store_with(alice, world, nuts="The word is walnut.", bolts="The word is screw.")
    page = assert_published(alice.made(f"vector_stores/{store}/search", query="walnut"))
    [one] = page["data"]
    assert (one["filename"], one["content"][0]["text"]) == ("nuts.txt", "The word is walnut.")
    assert page["search_query"] == ["walnut"]


def test_a_search_is_narrowed_by_attributes_and_scores(alice: Api, world: World) -> None:
    store = store_with(alice, world, old="The word is walnut.", new="The word is walnut, too.")
    [new, _old] = alice.get(f"vector_stores/{store}/files").json()["data"]
    alice.made(f"vector_stores/{store}/files/{new['id']}", attributes={"year": 2026})
    later = {"type": "gt", "key": "year", "value": 2025}
    search = f"vector_stores/{store}/search"
    found = alice.made(search, query=["walnut", "word"], filters=later)["data"]
    assert [item["file_id"] for item in found] == [new["id"]]
    strict = {"score_threshold": 1.0, "ranker": "auto"}
    assert len(alice.made(search, query="walnut", max_num_results=1)["data"]) == 1
    assert len(alice.made(search, query="walnut nowhere", ranking_options=strict)["data"]) <= 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": []}, "query"),
        ({"query": "x", "max_num_results": 51}, "max_num_results"),
        ({"query": "x", "filters": {"type": "like"}}, "filters.type"),
        ({"query": "x", "ranking_options": {"score_threshold": 2}}, "ranking_options."),
    ],
)
def test_a_faulty_search_names_its_part(alice: Api, body: dict[str, Any], param: str) -> None:
    store = alice.made("vector_stores")["id"]
    answer = alice.post(f"vector_stores/{store}/search", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith(param)


def test_a_batch_goes_on_where_one_of_its_files_is_bad(alice: Api, world: World) -> None:
    store = alice.made("vector_stores")["id"]
    data = {
        "good.txt": b"words",
        "locked.pdf": hostile.pdf("secret", password="x"),
        "bomb.docx": hostile.zip_bomb(300_000_000),
        "entity.docx": hostile.EXTERNAL_ENTITY,
        "program.txt": b"\x7fELF\x00\x01\x02",
    }
    ids = [uploaded(alice, content, name)["id"] for name, content in data.items()]
    batch = alice.made(f"vector_stores/{store}/file_batches", file_ids=ids)
    assert_published(batch)
    read_all(world)
    path = f"vector_stores/{store}/file_batches/{batch['id']}"
    now = alice.get(path).json()
    assert (now["status"], now["file_counts"]["completed"]) == ("completed", 1)
    failed = alice.get(f"{path}/files", filter="failed").json()["data"]
    assert {item["id"] for item in failed} == set(ids[1:])
    assert all(item["last_error"]["message"] for item in failed)


def test_files_of_a_batch_have_attributes_of_their_own(alice: Api) -> None:
    store = alice.made("vector_stores")["id"]
    first, second = uploaded(alice, b"a")["id"], uploaded(alice, b"b")["id"]
    given = [{"file_id": first, "attributes": {"n": 1}}, {"file_id": second}]
    batch = alice.made(f"vector_stores/{store}/file_batches", files=given)
    path = f"vector_stores/{store}/file_batches/{batch['id']}/files"
    found = alice.get(path, order="asc", limit=1).json()
    assert (found["data"][0]["attributes"], found["has_more"]) == ({"n": 1}, True)
    [rest] = alice.get(path, order="asc", after=found["last_id"]).json()["data"]
    assert (rest["id"], rest["attributes"]) == (second, {})


def test_a_cancelled_batch_is_read_no_further(alice: Api, world: World) -> None:
    store = alice.made("vector_stores")["id"]
    ids = [uploaded(alice, b"words")["id"]]
    batch = alice.made(f"vector_stores/{store}/file_batches", file_ids=ids)
    path = f"vector_stores/{store}/file_batches/{batch['id']}"
    stopped = alice.made(f"{path}/cancel")
    assert (stopped["status"], stopped["file_counts"]["cancelled"]) == ("cancelled", 1)
    read_all(world)
    assert alice.get(path).json() == stopped


def test_a_file_of_somebody_else_is_not_put_in(alice: Api, adam: Api) -> None:
    store = alice.made("vector_stores")["id"]
    theirs = uploaded(adam, b"words")["id"]
    answer = alice.post(f"vector_stores/{store}/files", {"file_id": theirs})
    assert_error(answer, 404, param="file_id")
    answer = alice.post("vector_stores", {"file_ids": [theirs]})
    assert_error(answer, 404, param="file_ids[0]")


def test_a_deleted_file_is_found_no_more(alice: Api, world: World) -> None:
    store = store_with(alice, world, a="The word is walnut.")
    [one] = alice.get(f"vector_stores/{store}/files").json()["data"]
    alice.delete(f"files/{one['id']}")
    assert alice.made(f"vector_stores/{store}/search", query="walnut")["data"] == []
    assert alice.get(f"vector_stores/{store}/files").json()["data"] == []


def test_a_file_that_is_taken_out_stays_a_file(alice: Api, world: World) -> None:
    store = store_with(alice, world, a="The word is walnut.")
    [one] = alice.get(f"vector_stores/{store}/files").json()["data"]
    assert_published(alice.delete(f"vector_stores/{store}/files/{one['id']}").json())
    assert alice.get(f"files/{one['id']}").status_code == 200
    with world.acme.scope(), transaction.atomic():
        assert not Chunk.objects.exists()


def test_a_deleted_store_leaves_nothing_but_its_files(alice: Api, world: World) -> None:
    store = store_with(alice, world, a="The word is walnut.")
    assert_published(alice.delete(f"vector_stores/{store}").json())
    assert_error(alice.get(f"vector_stores/{store}"), 404, param="vector_store_id")
    asyncio.run(erase_stores(0))
    asyncio.run(erase_files(0))
    with world.acme.scope(), transaction.atomic():
        assert not (VectorStore.objects.exists() or StoreFile.objects.exists())
        assert not Chunk.objects.exists()
    assert len(alice.get("files").json()["data"]) == 1


def test_an_unused_store_expires(alice: Api, world: World) -> None:
    after = {"anchor": "last_active_at", "days": 1}
    store = alice.made("vector_stores", expires_after=after)["id"]
    with world.acme.scope(), transaction.atomic():
        VectorStore.objects.update(last_active_at=timezone.now() - timedelta(days=2))
    assert alice.get(f"vector_stores/{store}").json()["status"] == "expired"
    answer = alice.post(f"vector_stores/{store}/search", {"query": "x"})
    assert_error(answer, 400, code="vector_store_expired")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"expires_after": {"anchor": "created_at", "days": 1}}, "expires_after.anchor"),
        ({"expires_after": {"anchor": "last_active_at", "days": 366}}, "expires_after.days"),
        ({"chunking_strategy": {"type": "other"}}, "chunking_strategy.type"),
        ({"file_ids": ["vs_x"]}, "file_ids[0]"),
        ({"file_ids": ["file-x"] * 501}, "file_ids"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"nothing": 1}, "nothing"),
    ],
)
def test_a_faulty_store_names_its_part(alice: Api, body: dict[str, Any], param: str) -> None:
    answer = alice.post("vector_stores", body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
