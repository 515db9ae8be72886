"""Who reads which file: claims exclude each other, and no company waits for another's files."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.utils import timezone
from procrastinate.contrib.django import app as jobs

from chat.actions.vector_stores.files import cancel_batch, create_batch
from chat.models import Chunk, File, StoreFile
from chat.retrieval import embed, index, pipeline
from chat.retrieval.extract import ExtractedText
from chat.retrieval.file_types import Kind
from chat.retrieval.index import IndexedFile, IndexTask, claim_file, split_passages
from chat.retrieval.index_pool import IndexPool
from chat.runs.engine import lifespan
from chat.runs.engine.worker import worker
from chat.tasks import index_store_file
from tenants.db import in_db
from tests.clock import WAIT_SECONDS
from tests.indexing import lapse_claim, store_indexed
from tests.retrieval.conftest import fill, find, make_store
from tests.world import Company, World

Extracting = Callable[[IndexTask], Awaitable[ExtractedText]]
TEXT = "The word is walnut."


@pytest.fixture(autouse=True)
def _words_alone(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "_built", [None])


def wait_for_reading(company: Company, count: int = 1, text: str = TEXT) -> list[StoreFile]:
    """Return files of a new store that nobody reads yet."""
    store = make_store(company)
    with company.scope():
        rows = []
        for number in range(count):
            name = f"{number}.txt"
            key = default_storage.save(f"{company.tenant.pk}/{name}", ContentFile(text.encode()))
            file = File.objects.create(
                purpose="assistants", filename=name, storage_key=key, stored_at=timezone.now()
            )
            rows.append(StoreFile.objects.create(store=store, file=file))
    return rows


def now(company: Company, row: StoreFile) -> StoreFile:
    """Return the row as it is stored."""
    with company.scope():
        found: StoreFile = StoreFile.objects.select_related("store").get(pk=row.pk)
    return found


def claim(company: Company, row: StoreFile) -> IndexTask:
    """Claim a file that is free."""
    task = claim_file(company.tenant.pk, row.pk)
    assert task is not None
    return task


def cut(text: str) -> IndexedFile:
    """Return what is stored of a text in passages of 100 tokens."""
    passages = split_passages(
        ExtractedText(kind=Kind.TEXT, text=text), max_tokens=100, overlap_tokens=0
    )
    extracted = ExtractedText(kind=Kind.TEXT, text=text)
    return IndexedFile(extracted=extracted, passages=passages, embedding="", vectors=[])


def test_a_file_that_is_being_read_cannot_be_claimed(world: World) -> None:
    (row,) = wait_for_reading(world.acme)
    claim(world.acme, row)
    assert [claim_file(world.acme.tenant.pk, row.pk) for _other in range(4)] == [None] * 4
    after = now(world.acme, row)
    assert (after.status, after.tries) == ("in_progress", 0)


def test_of_many_claims_at_once_one_succeeds(world: World) -> None:
    (row,) = wait_for_reading(world.acme)

    def claim_here(_number: int) -> bool:
        with closing(connection):
            return claim_file(world.acme.tenant.pk, row.pk) is not None

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(claim_here, range(8))) == 1


def test_a_lapsed_claim_is_a_reading_that_ended_badly(world: World) -> None:
    (row,) = wait_for_reading(world.acme)
    first = claim(world.acme, row)
    lapse_claim(world.acme, row)
    second = claim(world.acme, row)
    assert (first.tries, second.tries, second.token) == (0, 1, first.token + 1)


def test_the_reader_of_a_lapsed_claim_writes_nothing(world: World) -> None:
    (row,) = wait_for_reading(world.acme)
    first = claim(world.acme, row)
    lapse_claim(world.acme, row)
    claim(world.acme, row)
    for write in (
        lambda: index.begin_storing(first, cut(TEXT)),
        lambda: index.store_batch(first, next(index.iter_batches(first, cut(TEXT)))),
        lambda: index.complete_file(first, cut(TEXT)),
        lambda: index.renew_claim(first),
    ):
        with pytest.raises(index.ClaimLost):
            write()
    index.fail_file(first, code="server_error", message="No.")
    index.release_claim(first)
    after = now(world.acme, row)
    assert (after.status, after.claimed_at is None) == ("in_progress", False)
    with world.acme.scope():
        assert not Chunk.objects.exists()


def test_a_file_that_was_stopped_and_put_in_again_is_not_completed_by_its_old_reader(
    world: World,
) -> None:
    admin = world.acme.principal("adam")
    (row,) = wait_for_reading(world.acme)
    batch = create_batch(admin, row.store_id, file_ids=[row.file_id])
    old = claim(world.acme, row)
    cancel_batch(admin, row.store_id, batch.pk)
    create_batch(admin, row.store_id, file_ids=[row.file_id])
    with pytest.raises(index.ClaimLost):
        index.complete_file(old, cut(TEXT))


def extract_by(monkeypatch: pytest.MonkeyPatch, extracting: Extracting) -> None:
    """Let `extracting` read in place of a process."""
    monkeypatch.setattr(pipeline, "_extract", extracting)


async def test_a_reading_that_takes_longer_than_a_claim_keeps_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.CHAT, "INDEX_LAPSE_SECONDS", 1)
    renewed = asyncio.Event()
    loop = asyncio.get_running_loop()
    renew = index.renew_claim

    def note_renewal(task: IndexTask) -> None:
        renew(task)
        loop.call_soon_threadsafe(renewed.set)

    async def extract_slowly(_task: IndexTask) -> ExtractedText:
        await asyncio.wait_for(renewed.wait(), WAIT_SECONDS)
        return ExtractedText(kind=Kind.TEXT, text=TEXT)

    monkeypatch.setattr(index, "renew_claim", note_renewal)
    extract_by(monkeypatch, extract_slowly)
    (row,) = await in_db(wait_for_reading, world.acme)
    await pipeline.index_file(world.acme.tenant.pk, row.pk)
    after = await in_db(now, world.acme, row)
    assert (after.status, after.tries) == ("completed", 0)


async def test_a_stopped_reading_gives_its_claim_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def extract_for_ever(_task: IndexTask) -> ExtractedText:
        begun.set()
        await asyncio.sleep(WAIT_SECONDS)
        raise AssertionError

    extract_by(monkeypatch, extract_for_ever)
    (row,) = await in_db(wait_for_reading, world.acme)
    reading = asyncio.create_task(IndexPool().read_waiting_files())
    await begun.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    task = await in_db(claim, world.acme, row)
    assert task.tries == 0


async def test_a_claim_that_is_stopped_on_its_way_is_given_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    claimed, go_on = asyncio.Event(), threading.Event()

    def claim_and_wait(*args: Any) -> IndexTask | None:
        task = claim_file(*args)
        loop.call_soon_threadsafe(claimed.set)
        assert go_on.wait(WAIT_SECONDS)
        return task

    (row,) = await in_db(wait_for_reading, world.acme)
    with monkeypatch.context() as slow:
        slow.setattr(index, "claim_file", claim_and_wait)
        reading = asyncio.create_task(IndexPool().read_waiting_files())
        await asyncio.wait_for(claimed.wait(), WAIT_SECONDS)
        reading.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await reading
    task = await in_db(claim, world.acme, row)
    assert task.tries == 0


async def test_an_error_of_one_file_is_its_status_and_stops_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def extract_all_but_one(task: IndexTask) -> ExtractedText:
        if task.filename == "1.txt":
            raise ZeroDivisionError
        return ExtractedText(kind=Kind.TEXT, text=TEXT)

    extract_by(monkeypatch, extract_all_but_one)
    rows = await in_db(wait_for_reading, world.acme, 3)
    await IndexPool().read_waiting_files()
    after = [await in_db(now, world.acme, row) for row in rows]
    assert [row.status for row in after] == ["completed", "failed", "completed"]
    assert after[1].error_message == pipeline.PROCESSING_FAILED


async def test_what_the_database_refuses_once_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = await in_db(wait_for_reading, world.acme)

    def time_out(*_given: object) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 1")
            cursor.execute("SELECT pg_sleep(5)")

    with monkeypatch.context() as broken:
        broken.setattr(index, "complete_file", time_out)
        await IndexPool().read_waiting_files()
    after = await in_db(now, world.acme, row)
    assert (after.status, after.claimed_at is None) == ("in_progress", False)
    await in_db(lapse_claim, world.acme, row)
    await IndexPool().read_waiting_files()
    after = await in_db(now, world.acme, row)
    assert (after.status, after.tries) == ("completed", 1)


async def test_slow_files_of_one_company_never_take_all_slots(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, reading, most = asyncio.Event(), 0, 0

    async def hold_acme(task: IndexTask) -> ExtractedText:
        nonlocal reading, most
        if task.tenant_id == world.acme.tenant.pk:
            reading += 1
            most = max(most, reading)
            await asyncio.wait_for(held.wait(), WAIT_SECONDS)
            reading -= 1
        return ExtractedText(kind=Kind.TEXT, text=TEXT)

    extract_by(monkeypatch, hold_acme)
    slow = await in_db(wait_for_reading, world.acme, 6)
    quick = await in_db(wait_for_reading, world.globex, 3)
    pool = IndexPool()
    # As many jobs as a process has slots, and as many again while those read.
    jobs = [asyncio.create_task(pool.read_waiting_files()) for _slot in range(4)]
    await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
    await pool.read_waiting_files()
    assert [(await in_db(now, world.globex, row)).status for row in quick] == ["completed"] * 3
    held.set()
    await asyncio.gather(*jobs)
    assert [(await in_db(now, world.acme, row)).status for row in slow] == ["completed"] * 6
    assert most == 2


async def test_companies_take_turns(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[UUID] = []

    async def note_turn(task: IndexTask) -> ExtractedText:
        order.append(task.tenant_id)
        return ExtractedText(kind=Kind.TEXT, text=TEXT)

    extract_by(monkeypatch, note_turn)
    await in_db(wait_for_reading, world.acme, 4)
    await in_db(wait_for_reading, world.globex, 2)
    await IndexPool().read_waiting_files()
    acme, globex = world.acme.tenant.pk, world.globex.tenant.pk
    assert order == [acme, globex, acme, globex, acme, acme]


async def test_runs_are_recovered_while_every_index_slot_is_taken(
    world: World, database: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    recovered = asyncio.Event()

    async def recover() -> None:
        recovered.set()

    async def read_slowly() -> None:
        await asyncio.wait_for(recovered.wait(), WAIT_SECONDS)

    monkeypatch.setattr(worker, "recover", recover)
    monkeypatch.setattr("chat.tasks.index_pool.read_waiting_files", read_slowly)
    monkeypatch.setitem(settings.CHAT, "INDEX_SLOTS", 1)
    for number in range(2):
        await index_store_file.defer_async(
            tenant_id=str(world.acme.tenant.pk), store_file_id=number
        )
    await jobs.configure_task("chat.tasks.recover_runs").defer_async(timestamp=0)
    await asyncio.wait_for(lifespan.run_workers(wait=False, concurrency=1), WAIT_SECONDS)
    assert recovered.is_set()


def test_every_queue_has_a_pool(world: World) -> None:
    assert {"files", "runs", "upkeep", "default", "builtin"} <= lifespan.list_queues()


def test_a_file_is_found_when_all_of_it_is_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "BATCH_SIZE", 2)
    (row,) = wait_for_reading(world.acme)
    other = fill(world.acme, row.store, "other.txt", "Another walnut.")
    done = cut("Here is a walnut. " * 200)
    task = claim(world.acme, row)
    assert index.begin_storing(task, done)
    pieces = index.iter_batches(task, done)
    index.store_batch(task, next(pieces))
    assert [found.filename for found in find(world.acme, [row.store], "walnut")] == ["other.txt"]
    narrowed = find(world.acme, [row.store], "walnut", files=[row.pk, other.pk])
    assert [found.filename for found in narrowed] == ["other.txt"]
    for piece in pieces:
        index.store_batch(task, piece)
    index.complete_file(task, done)
    found = find(world.acme, [row.store], "walnut", most=50)
    assert {passage.filename for passage in found} == {"other.txt", "0.txt"}


def test_no_transaction_is_open_while_rows_are_made(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    within: list[bool] = []

    def note(direction: list[float]) -> str:
        within.append(connection.in_atomic_block)
        return str(direction)

    monkeypatch.setattr(index, "format_vector", note)
    monkeypatch.setattr(index, "BATCH_SIZE", 2)
    (row,) = wait_for_reading(world.acme)
    done = cut("Here is a walnut. " * 200)
    vectors = [(number, [1.0, 0.5]) for number in range(len(done.passages))]
    done = IndexedFile(
        extracted=done.extracted, passages=done.passages, embedding="a", vectors=vectors
    )
    store_indexed(claim(world.acme, row), done)
    assert within == [False] * len(done.passages)
    with world.acme.scope():
        assert Chunk.objects.filter(store_file=row).count() == len(done.passages) > 4


def test_what_a_dead_reader_wrote_is_written_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "BATCH_SIZE", 2)
    (row,) = wait_for_reading(world.acme)
    done = cut("Here is a walnut. " * 200)
    dead = claim(world.acme, row)
    index.begin_storing(dead, done)
    index.store_batch(dead, next(index.iter_batches(dead, done)))
    lapse_claim(world.acme, row)
    store_indexed(claim(world.acme, row), done)
    after = now(world.acme, row)
    with world.acme.scope():
        assert Chunk.objects.filter(store_file=row).count() == after.chunk_count


async def test_what_was_written_of_a_stopped_file_is_removed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "BATCH_SIZE", 2)
    (row,) = await in_db(wait_for_reading, world.acme, 1, "Here is a walnut. " * 2000)
    store_piece = index.store_batch

    def stop_afterwards(task: IndexTask, piece: index.IndexBatch) -> None:
        store_piece(task, piece)
        with world.acme.scope():
            rows = StoreFile.objects.filter(pk=row.pk)
            rows.update(status="cancelled", ended_at=timezone.now())

    monkeypatch.setattr(index, "store_batch", stop_afterwards)
    await IndexPool().read_waiting_files()

    def count_passages() -> int:
        with world.acme.scope():
            return int(Chunk.objects.count())

    assert (await in_db(now, world.acme, row)).status == "cancelled"
    assert await in_db(count_passages) == 0
