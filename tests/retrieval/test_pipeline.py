"""A file on its way to being searchable, and what may go wrong on it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone

from chat.models import Chunk, File, StoreFile
from chat.retrieval import embed, index, pipeline
from chat.retrieval.index import ClaimLost, claim_file
from chat.upstream.errors import UpstreamUnavailable
from tenants.db import DatabasePool, in_db
from tests.indexing import lapse_claim, store_indexed
from tests.retrieval import files
from tests.retrieval.conftest import find, make_store
from tests.world import World


@pytest.fixture(autouse=True)
def _words_alone(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "_built", [None])


def waiting(world: World, data: bytes, filename: str = "a.txt") -> StoreFile:
    store = make_store(world.acme)
    key = default_storage.save(f"{world.acme.tenant.pk}/a", ContentFile(data))
    with world.acme.scope():
        file = File.objects.create(purpose="assistants", filename=filename, storage_key=key)
        row: StoreFile = StoreFile.objects.create(store=store, file=file)
    return row


def indexed(world: World, row: StoreFile) -> StoreFile:
    asyncio.run(pipeline.index_file(world.acme.tenant.pk, row.pk))
    with world.acme.scope(), transaction.atomic():
        found: StoreFile = StoreFile.objects.select_related("store").get(pk=row.pk)
    return found


async def test_files_have_threads_of_their_own_so_that_chats_wait_for_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        index, "complete_file", lambda *_given: seen.append(threading.current_thread().name)
    )
    row = await in_db(waiting, world, b"The word is walnut.")
    await pipeline.index_file(world.acme.tenant.pk, row.pk)
    assert [name.partition("_")[0] for name in seen] == [DatabasePool.FILES.value]


async def test_a_long_text_is_cut_beside_the_event_loop(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    loops: list[bool] = []

    def chunks(*_given: Any, **_sizes: int) -> list[Any]:
        loops.append(has_loop())
        return []

    monkeypatch.setattr(index, "chunks", chunks)
    row = await in_db(waiting, world, b"The word is walnut.")
    await pipeline.index_file(world.acme.tenant.pk, row.pk)
    assert loops == [False]


def has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def test_a_pdf_becomes_searchable(world: World) -> None:
    row = indexed(world, waiting(world, files.pdf("The word is walnut."), "guide.pdf"))
    assert (row.status, row.chunk_count, row.pages) == ("completed", 1, [0])
    assert [item.filename for item in find(world.acme, [row.store], "walnut")] == ["guide.pdf"]


def test_what_the_company_has_no_room_for_is_not_made_searchable(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.CHAT, "STORAGE_BYTES", 30)
    first = indexed(world, waiting(world, b"The word is walnut."))
    second = indexed(world, waiting(world, b"The word is walnut."))
    assert (first.status, second.status) == ("completed", "failed")
    assert second.error_message == index.INDEX_FULL


def test_a_damaged_file_says_why(world: World) -> None:
    row = indexed(world, waiting(world, b"%PDF-1.7 rubbish"))
    assert (row.status, row.error_code) == ("failed", "invalid_file")
    assert "damaged" in row.error_message


def test_a_picture_is_unsupported(world: World) -> None:
    row = indexed(world, waiting(world, b"\x89PNG\r\n\x1a\n....", "a.pdf"))
    assert (row.status, row.error_code) == ("failed", "unsupported_file")


def test_a_lost_file_says_so(world: World) -> None:
    row = waiting(world, b"words")
    default_storage.delete(f"{world.acme.tenant.pk}/a")
    assert indexed(world, row).error_message == "The file no longer exists."


def test_a_second_reader_of_a_finished_file_changes_nothing(world: World) -> None:
    row = indexed(world, waiting(world, b"The word is walnut."))
    indexed(world, row)
    with world.acme.scope(), transaction.atomic():
        assert Chunk.objects.count() == 1


def test_a_claim_that_was_overtaken_stores_nothing(world: World) -> None:
    row = waiting(world, b"The word is walnut.")
    first = claim_file(world.acme.tenant.pk, row.pk)
    assert first is not None
    done = asyncio.run(pipeline._build_index(first))
    lapse_claim(world.acme, row)
    indexed(world, row)
    with pytest.raises(ClaimLost):
        store_indexed(first, done)
    with world.acme.scope(), transaction.atomic():
        assert Chunk.objects.count() == 1


def test_a_file_that_kills_its_readers_is_failed(world: World) -> None:
    row = waiting(world, b"words")
    for _death in range(3):
        assert claim_file(world.acme.tenant.pk, row.pk) is not None
        lapse_claim(world.acme, row)
    assert indexed(world, row).error_code == "server_error"


def test_an_embedder_that_is_away_leaves_it_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away:
        id, window_tokens = "away:1", 100

        async def embed(self, texts: Any) -> Any:
            raise UpstreamUnavailable("away")

    monkeypatch.setattr(embed, "_built", [Away()])
    row = waiting(world, b"words")
    statuses = []
    for _try in range(3):
        statuses.append(indexed(world, row).status)
        lapse_claim(world.acme, row)
    assert statuses == ["in_progress", "in_progress", "failed"]


class Stepped:
    """An embedder before each of whose steps but the first something happened to the file."""

    id, window_tokens = "stepped:1", 5

    def __init__(self, happens: Callable[[], None]) -> None:
        self.happens, self.steps = happens, 0

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.steps += 1
        await in_db(self.happens)
        return [[1.0]] * len(texts)


def long_text(
    world: World, monkeypatch: pytest.MonkeyPatch, **change: Any
) -> tuple[StoreFile, Stepped]:
    """Return a file that takes several steps, at each of which its row is changed."""
    row = waiting(world, b"The word is walnut. " * 20)

    def happens() -> None:
        with world.acme.scope():
            StoreFile.objects.filter(pk=row.pk).update(**change)

    embedder = Stepped(happens)
    monkeypatch.setattr(embed, "_built", [embedder])
    monkeypatch.setattr(index, "EMBED_BATCH_SIZE", 2)
    return row, embedder


def test_the_claim_is_renewed_while_a_long_text_is_embedded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago = timezone.now() - timedelta(hours=1)
    row, embedder = long_text(world, monkeypatch, claimed_at=long_ago)
    renewed = []
    renew = index.renew_claim

    def noted(task: index.IndexTask) -> None:
        renew(task)
        with world.acme.scope():
            renewed.append(StoreFile.objects.get(pk=row.pk).claimed_at > long_ago)

    monkeypatch.setattr(index, "renew_claim", noted)
    assert indexed(world, row).status == "completed"
    assert renewed == [True] * (embedder.steps - 1)
    assert embedder.steps > 2


def test_a_text_that_nobody_waits_for_is_embedded_no_further(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, embedder = long_text(world, monkeypatch, status="cancelled")
    assert indexed(world, row).status == "cancelled"
    assert embedder.steps == 1
