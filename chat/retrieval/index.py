"""Index a file of a vector store: its passages, and where there is an embedder their vectors.

Each function that touches rows runs in the tenant's scope and a transaction of
its own; the work between them holds neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from chat.conf import conf
from chat.models import Chunk, IndexStatus, StoreFile, Vector, VectorStore
from chat.retrieval.bounds import TOO_LONG
from chat.retrieval.chunk import Span, chunks
from chat.retrieval.embed import Embedder, windows
from chat.retrieval.errors import Unreadable
from chat.retrieval.extract import Extracted
from tenants.scope import tenant_scope

MOST_PASSAGES = 50_000
FULL = "Your company keeps as much for searching as it may: delete some documents first."
# Windows that an embedder is given at a time.
AT_ONCE = 128


class ClaimLost(Exception):
    """Somebody else reads this file by now, or nobody is to read it any more."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A file to index, as it was claimed: `tries` tells this claim from later ones."""

    tenant_id: UUID
    store_file_id: int
    tries: int
    filename: str
    storage_key: str
    max_tokens: int
    overlap_tokens: int


@dataclass(frozen=True, kw_only=True)
class Indexed:
    """What is to be stored of a file. `vectors` are (number of the passage, direction)."""

    extracted: Extracted
    passages: list[Span]
    embedding: str
    vectors: list[tuple[int, list[float]]]


def claim_file(tenant_id: UUID, store_file_id: int) -> Task | None:
    """Claim a file for indexing; None where it is done, gone, or has failed too often.

    A file whose reader died that often is failed: it may have been the reason.
    """
    with tenant_scope(tenant_id), transaction.atomic():
        row = (
            StoreFile.objects.select_for_update(of=("self",))
            .select_related("file")
            .filter(pk=store_file_id, status=IndexStatus.IN_PROGRESS)
            .first()
        )
        if row is None:
            return None
        if row.tries >= conf.index_tries:
            _fail(row, "server_error", "Reading this file failed several times.")
            return None
        row.tries += 1
        row.claimed_at = timezone.now()
        row.save(update_fields=["tries", "claimed_at"])
        return Task(
            tenant_id=tenant_id,
            store_file_id=row.pk,
            tries=row.tries,
            filename=row.file.filename,
            storage_key=row.file.storage_key,
            max_tokens=row.max_chunk_tokens,
            overlap_tokens=row.overlap_tokens,
        )


def passages_of(extracted: Extracted, *, max_tokens: int, overlap_tokens: int) -> list[Span]:
    """Return the passages of a text.

    Raises:
        Unreadable: when they are more than one file may have.
    """
    cut = chunks(extracted.text, max_tokens=max_tokens, overlap_tokens=overlap_tokens)
    found = list(islice(cut, MOST_PASSAGES + 1))
    if len(found) > MOST_PASSAGES:
        raise Unreadable(TOO_LONG)
    return found


async def vectors_of(
    passages: list[Span],
    embedder: Embedder | None,
    *,
    between: Callable[[], Awaitable[None]] | None = None,
) -> list[tuple[int, list[float]]]:
    """Return the directions of each passage, one for each window its embedder reads at once.

    A book takes minutes: `between` is awaited every few seconds of it, and may end it.

    Raises:
        UpstreamError: when the embedder's server fails.
    """
    if embedder is None:
        return []
    pieces = await asyncio.to_thread(_pieces, passages, embedder.window_tokens)
    vectors: list[list[float]] = []
    for start in range(0, len(pieces), AT_ONCE):
        if start and between is not None:
            await between()
        vectors += await embedder.embed(
            [window for _number, window in pieces[start : start + AT_ONCE]]
        )
    return [(number, vector) for (number, _), vector in zip(pieces, vectors, strict=True)]


def _pieces(passages: list[Span], tokens: int) -> list[tuple[int, str]]:
    return [
        (number, window)
        for number, passage in enumerate(passages)
        for window in windows(passage.text, tokens)
    ]


def store_indexed(task: Task, indexed: Indexed) -> bool:
    """Store passages and vectors and complete the file; False where the claim is not the last.

    All of it or nothing: what is found in a store is of completed files only. A file fails
    for which the tenant has no room.
    """
    with tenant_scope(task.tenant_id), transaction.atomic():
        row = _claimed(task)
        if row is None:
            return False
        size = _size(indexed)
        if size + _kept() > conf.storage_bytes:
            _fail(row, "server_error", FULL)
            return True
        stored = Chunk.objects.bulk_create(
            [
                Chunk(
                    store_file=row,
                    store_ref=row.store_id,
                    index=number,
                    start=passage.start,
                    end=passage.end,
                    text=passage.text,
                )
                for number, passage in enumerate(indexed.passages)
            ],
            batch_size=500,
        )
        Vector.objects.bulk_create(
            [
                Vector(store_ref=row.store_id, chunk=stored[number], direction=direction)
                for number, direction in indexed.vectors
            ],
            batch_size=500,
        )
        if indexed.vectors:
            VectorStore.objects.filter(pk=row.store_id, embedding="").update(
                embedding=indexed.embedding
            )
        row.text, row.pages = indexed.extracted.text, list(indexed.extracted.pages)
        row.chunk_count = len(stored)
        row.usage_bytes = size
        row.status, row.ended_at = IndexStatus.COMPLETED, timezone.now()
        row.save()
        return True


def fail_file(task: Task, *, code: str, message: str) -> None:
    """Note why a file cannot be searched, unless another claim came after this one."""
    with tenant_scope(task.tenant_id), transaction.atomic():
        row = _claimed(task)
        if row is not None:
            _fail(row, code, message)


def renew_claim(task: Task) -> None:
    """Say that the file is still being read.

    Raises:
        ClaimLost: where it is no longer this claim's.
    """
    with tenant_scope(task.tenant_id), transaction.atomic():
        rows = StoreFile.objects.filter(
            pk=task.store_file_id, status=IndexStatus.IN_PROGRESS, tries=task.tries
        )
        if not rows.update(claimed_at=timezone.now()):
            raise ClaimLost()


def _claimed(task: Task) -> StoreFile | None:
    found: StoreFile | None = (
        StoreFile.objects.select_for_update()
        .filter(pk=task.store_file_id, status=IndexStatus.IN_PROGRESS, tries=task.tries)
        .first()
    )
    return found


def _fail(row: StoreFile, code: str, message: str) -> None:
    row.status, row.ended_at = IndexStatus.FAILED, timezone.now()
    row.error_code, row.error_message = code, message[:300]
    row.save(update_fields=["status", "ended_at", "error_code", "error_message"])


def _kept() -> int:
    """Return the bytes that the tenant's files take for searching, in however many stores."""
    return StoreFile.objects.aggregate(kept=Sum("usage_bytes"))["kept"] or 0


def _size(indexed: Indexed) -> int:
    """Return the bytes that a file takes for searching: passages, and two for each number."""
    texts = sum(len(passage.text.encode()) for passage in indexed.passages)
    return texts + sum(2 * len(direction) for _number, direction in indexed.vectors)
