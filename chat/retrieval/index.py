"""Indexing of vector store files: claims, passages, and vectors if there is an embedder.

Each function that accesses rows opens its own tenant scope and transaction; the work between
them holds neither. Passages are written in batches of `BATCH_SIZE`, so that no transaction stays
open while many rows are built. Searches exclude the passages of files that are not completed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from uuid import UUID

from django.db import transaction
from django.db.models import Case, F, Q, QuerySet, Sum, When
from django.db.models.functions import Now
from django.utils import timezone

from chat.conf import conf
from chat.models import Chunk, IndexStatus, StoreFile, Vector, VectorStore
from chat.models.vectors import format_vector
from chat.retrieval.chunk import Span, chunks
from chat.retrieval.embed import Embedder, split_windows
from chat.retrieval.errors import Unreadable
from chat.retrieval.extract import ExtractedText
from chat.retrieval.limits import TOO_LONG
from tenants.db import call_privileged
from tenants.scope import tenant_scope

MAX_PASSAGES = 50_000
INDEX_FULL = "Your company's search index is full. Delete some documents first."
# Number of windows passed to the embedder in one call.
EMBED_BATCH_SIZE = 128
# Number of passages written in one transaction.
BATCH_SIZE = 200
# Number of companies considered when the next file is chosen.
MAX_COMPANIES = 100


class ClaimLost(Exception):
    """The file was claimed by another process, or its indexing was cancelled."""


@dataclass(frozen=True, kw_only=True)
class IndexTask:
    """A claimed file to index.

    `token` distinguishes this claim from later claims; `tries` counts earlier failed attempts.
    """

    tenant_id: UUID
    store_file_id: int
    store_id: str
    token: int
    tries: int
    filename: str
    storage_key: str
    max_tokens: int
    overlap_tokens: int


@dataclass(frozen=True, kw_only=True)
class IndexedFile:
    """The index data of a file. `vectors` are (index in `passages`, unit vector)."""

    extracted: ExtractedText
    passages: list[Span]
    embedding: str
    vectors: list[tuple[int, list[float]]]


@dataclass(frozen=True, kw_only=True)
class IndexBatch:
    """A batch of rows. `directions` are (index in `chunks`, vector as PostgreSQL text)."""

    chunks: list[Chunk]
    directions: list[tuple[int, str]]


def claim_file(tenant_id: UUID, store_file_id: int) -> IndexTask | None:
    """Claim a file for indexing.

    Return None if the file is claimed, completed, deleted, or has failed too often. The claim is
    one UPDATE that uses the database's clock, so that claims exclude each other. An expired
    claim counts as a failed attempt, because the file may have crashed its reader.
    """
    with tenant_scope(tenant_id), transaction.atomic():
        free = Q(claimed_at=None) | Q(claimed_at__lt=Now() - _get_claim_timeout())
        claimed = StoreFile.objects.filter(
            free, pk=store_file_id, status=IndexStatus.IN_PROGRESS
        ).update(
            token=F("token") + 1,
            tries=Case(When(claimed_at=None, then=F("tries")), default=F("tries") + 1),
            claimed_at=Now(),
        )
        if not claimed:
            return None
        rows = StoreFile.objects.select_related("file").defer("text", "pages")
        row = rows.get(pk=store_file_id)
        if row.tries >= conf.index_tries:
            _fail(row, "server_error", "This file could not be processed after several attempts.")
            return None
        return IndexTask(
            tenant_id=tenant_id,
            store_file_id=row.pk,
            store_id=row.store_id,
            token=row.token,
            tries=row.tries,
            filename=row.file.filename,
            storage_key=row.file.storage_key,
            max_tokens=row.max_chunk_tokens,
            overlap_tokens=row.overlap_tokens,
        )


def list_next_files(skipped: Collection[UUID]) -> list[tuple[int, UUID]]:
    """Return the oldest pending file (row id, tenant) of each company not in `skipped`."""
    rows = call_privileged(
        "next_files_to_index", conf.index_lapse_seconds, list(skipped), MAX_COMPANIES
    )
    return [(store_file_id, tenant_id) for store_file_id, tenant_id in rows]


def split_passages(extracted: ExtractedText, *, max_tokens: int, overlap_tokens: int) -> list[Span]:
    """Split a text into passages.

    Raises:
        Unreadable: the text has more than `MAX_PASSAGES` passages.
    """
    cut = chunks(extracted.text, max_tokens=max_tokens, overlap_tokens=overlap_tokens)
    found = list(islice(cut, MAX_PASSAGES + 1))
    if len(found) > MAX_PASSAGES:
        raise Unreadable(TOO_LONG)
    return found


async def embed_passages(
    passages: list[Span],
    embedder: Embedder | None,
    *,
    between: Callable[[], Awaitable[None]] | None = None,
) -> list[tuple[int, list[float]]]:
    """Return the vectors of the passages, one for each window of the embedder.

    A book takes minutes: `between` is awaited between batches, every few seconds, and may raise
    to stop the work.

    Raises:
        UpstreamError: the embedding server failed.
    """
    if embedder is None:
        return []
    pieces = await asyncio.to_thread(_split_windows, passages, embedder.window_tokens)
    vectors: list[list[float]] = []
    for start in range(0, len(pieces), EMBED_BATCH_SIZE):
        if start and between is not None:
            await between()
        vectors += await embedder.embed(
            [window for _number, window in pieces[start : start + EMBED_BATCH_SIZE]]
        )
    return [(number, vector) for (number, _), vector in zip(pieces, vectors, strict=True)]


def _split_windows(passages: list[Span], tokens: int) -> list[tuple[int, str]]:
    return [
        (number, window)
        for number, passage in enumerate(passages)
        for window in split_windows(passage.text, tokens)
    ]


def iter_batches(task: IndexTask, indexed: IndexedFile) -> Iterator[IndexBatch]:
    """Yield unsaved rows of passages and vectors, in batches of `BATCH_SIZE` passages."""
    vectors = iter(indexed.vectors)
    pending = next(vectors, None)
    for first in range(0, len(indexed.passages), BATCH_SIZE):
        passages = indexed.passages[first : first + BATCH_SIZE]
        directions: list[tuple[int, str]] = []
        while pending is not None and pending[0] < first + len(passages):
            directions.append((pending[0] - first, format_vector(pending[1])))
            pending = next(vectors, None)
        chunks_of_piece = [
            Chunk(
                tenant_id=task.tenant_id,
                store_file_id=task.store_file_id,
                store_ref=task.store_id,
                index=first + place,
                start=passage.start,
                end=passage.end,
                text=passage.text,
            )
            for place, passage in enumerate(passages)
        ]
        yield IndexBatch(chunks=chunks_of_piece, directions=directions)


def begin_storing(task: IndexTask, indexed: IndexedFile) -> bool:
    """Remove the passages of earlier attempts and check the storage quota.

    Return False if the quota is exceeded; the file is failed then.

    Raises:
        ClaimLost: another process claimed the file, or its indexing was cancelled.
    """
    size = _compute_size(indexed)
    with tenant_scope(task.tenant_id), transaction.atomic():
        row = _lock_claimed(task)
        _remove_passages(row)
        if size + _count_index_bytes() > conf.storage_bytes:
            _fail(row, "server_error", INDEX_FULL)
            return False
        return True


def store_batch(task: IndexTask, piece: IndexBatch) -> None:
    """Write one batch and renew the claim.

    Raises:
        ClaimLost: another process claimed the file, or its indexing was cancelled.
    """
    with tenant_scope(task.tenant_id), transaction.atomic():
        stored = F("chunk_count") + len(piece.chunks)
        if not _get_claimed_rows(task).update(claimed_at=Now(), chunk_count=stored):
            raise ClaimLost()
        chunks_stored = Chunk.objects.bulk_create(piece.chunks)
        Vector.objects.bulk_create(
            [
                Vector(store_ref=task.store_id, chunk=chunks_stored[place], direction=direction)
                for place, direction in piece.directions
            ],
            batch_size=BATCH_SIZE,
        )


def complete_file(task: IndexTask, indexed: IndexedFile) -> None:
    """Make a fully written file searchable, or fail it if the storage quota is exceeded.

    Raises:
        ClaimLost: another process claimed the file, or its indexing was cancelled.
    """
    size = _compute_size(indexed)
    with tenant_scope(task.tenant_id), transaction.atomic():
        row = _lock_claimed(task)
        if size + _count_index_bytes() > conf.storage_bytes:
            _fail(row, "server_error", INDEX_FULL)
            return
        if indexed.vectors:
            VectorStore.objects.filter(pk=row.store_id, embedding="").update(
                embedding=indexed.embedding
            )
        row.text, row.pages = indexed.extracted.text, list(indexed.extracted.pages)
        row.chunk_count = len(indexed.passages)
        row.usage_bytes = size
        row.status, row.ended_at = IndexStatus.COMPLETED, timezone.now()
        row.save()


def fail_file(task: IndexTask, *, code: str, message: str) -> None:
    """Mark the file as failed, unless the claim was lost."""
    with tenant_scope(task.tenant_id), transaction.atomic():
        row = _get_claimed_rows(task).select_for_update().first()
        if row is not None:
            _fail(row, code, message)


def release_claim(task: IndexTask) -> None:
    """Release the claim of a cancelled attempt, which does not count as a failure."""
    with tenant_scope(task.tenant_id), transaction.atomic():
        _get_claimed_rows(task).update(claimed_at=None)


def remove_leftovers(task: IndexTask) -> None:
    """Remove the passages of a cancelled file that no other process has claimed."""
    with tenant_scope(task.tenant_id), transaction.atomic():
        stopped = StoreFile.objects.filter(pk=task.store_file_id, token=task.token)
        row = stopped.exclude(status=IndexStatus.COMPLETED).select_for_update().first()
        if row is not None:
            _remove_passages(row)


def renew_claim(task: IndexTask) -> None:
    """Renew the claim on the file (heartbeat).

    Raises:
        ClaimLost: another process claimed the file, or its indexing was cancelled.
    """
    with tenant_scope(task.tenant_id), transaction.atomic():
        if not _get_claimed_rows(task).update(claimed_at=Now()):
            raise ClaimLost()


def _get_claim_timeout() -> timedelta:
    return timedelta(seconds=conf.index_lapse_seconds)


def _get_claimed_rows(task: IndexTask) -> QuerySet[StoreFile]:
    found: QuerySet[StoreFile] = StoreFile.objects.filter(
        pk=task.store_file_id, status=IndexStatus.IN_PROGRESS, token=task.token
    )
    return found


def _lock_claimed(task: IndexTask) -> StoreFile:
    row = _get_claimed_rows(task).select_for_update().first()
    if row is None:
        raise ClaimLost()
    return row


def _remove_passages(row: StoreFile) -> None:
    if row.chunk_count:
        Chunk.objects.filter(store_file=row).delete()
        row.chunk_count = 0
        row.save(update_fields=["chunk_count"])


def _fail(row: StoreFile, code: str, message: str) -> None:
    _remove_passages(row)
    row.status, row.ended_at = IndexStatus.FAILED, timezone.now()
    row.error_code, row.error_message = code, message[:300]
    row.save(update_fields=["status", "ended_at", "error_code", "error_message"])


def _count_index_bytes() -> int:
    """Return the index size of all files of the tenant, in bytes."""
    return StoreFile.objects.aggregate(kept=Sum("usage_bytes"))["kept"] or 0


def _compute_size(indexed: IndexedFile) -> int:
    """Return the index size of a file in bytes: its passages, and 2 bytes per vector element."""
    texts = sum(len(passage.text.encode()) for passage in indexed.passages)
    return texts + sum(2 * len(direction) for _number, direction in indexed.vectors)
