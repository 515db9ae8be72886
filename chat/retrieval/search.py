"""Hybrid search of vector stores: keyword and vector search, merged by rank."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from django.db import transaction
from django.db.models import Count, Q, Sum

from chat.models import Chunk, IndexStatus, StoreFile, VectorStore
from chat.models.vectors import format_vector
from chat.retrieval.embed import Embedder
from tenants.db import DatabasePool, call_privileged, run_in_pool

T = TypeVar("T", bound=Hashable)

# Constant of reciprocal rank fusion: Cormack, Clarke, Büttcher, SIGIR 2009.
RRF_K = 60
# Number of results taken from each ranking before merging.
DEPTH = 100


@dataclass(frozen=True, kw_only=True)
class SearchQuery:
    """A search query: its text, and its vector (`direction`) if there is an embedder."""

    text: str
    embedding: str = ""
    direction: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PassageMatch:
    """A search result. `score` is from 0 to 1: the fused rank score, or the similarity."""

    chunk: Chunk
    score: float

    @property
    def filename(self) -> str:
        """The name of the passage's file."""
        return str(self.chunk.store_file.file.filename)


async def embed_query(text: str, embedder: Embedder | None) -> SearchQuery:
    """Return a query with its vector, ready for searching.

    Raises:
        UpstreamError: the embedding server failed.
    """
    if embedder is None or not text.strip():
        return SearchQuery(text=text)
    (direction,) = await embedder.embed([text[: embedder.window_tokens * 8]])
    return SearchQuery(text=text, embedding=embedder.id, direction=tuple(direction))


async def search(
    stores: Sequence[VectorStore],
    texts: Sequence[str],
    *,
    asking: Callable[[str], Awaitable[SearchQuery]],
    most: int,
    threshold: float = 0.0,
    files: list[int] | None = None,
) -> list[PassageMatch]:
    """Return the best passages of these stores for all queries together, best first.

    `asking` embeds a text while the keyword search runs. `files` restricts the search to these
    StoreFile rows. The caller has authorised access to the stores; call within the tenant's
    scope and outside of a transaction. Results and scores depend only on these stores.

    Raises:
        UpstreamError: `asking` raised it.
    """
    if not stores or files == []:
        return []
    places: list[list[int]] = []
    for text in texts:
        places += await asyncio.gather(
            run_in_pool(DatabasePool.TOOLS, _search_words, stores, text, files),
            _search_meaning(stores, asking(text), files),
        )
    best = [(pk, score) for pk, score in fuse_rankings(places) if score >= threshold][:most]
    return await run_in_pool(DatabasePool.TOOLS, _load_passages, best)


@transaction.atomic
def _search_words(stores: Sequence[VectorStore], text: str, files: list[int] | None) -> list[int]:
    ids = [store.pk for store in stores]
    files, passages = _select_completed(ids, files)
    rows = call_privileged("search_words", ids, text, files, passages, DEPTH)
    return [row[0] for row in rows]


async def _search_meaning(
    stores: Sequence[VectorStore], asked: Awaitable[SearchQuery], files: list[int] | None
) -> list[int]:
    question = await asked
    comparable = [store.pk for store in stores if store.embedding == question.embedding]
    if not question.direction or not comparable:
        return []
    return await run_in_pool(
        DatabasePool.TOOLS, _search_vectors, comparable, question.direction, files
    )


@transaction.atomic
def _search_vectors(
    store_ids: list[str], direction: tuple[float, ...], files: list[int] | None
) -> list[int]:
    files, _total = _select_completed(store_ids, files)
    rows = call_privileged("search_vectors", store_ids, format_vector(direction), files, DEPTH)
    return [row[0] for row in rows]


@transaction.atomic
def _load_passages(best: list[tuple[int, float]]) -> list[PassageMatch]:
    # Defer the full text of the files. Filter by status again, because the ranking may include
    # passages of a file whose indexing began after `_select_completed`.
    chunks = Chunk.objects.filter(store_file__status=IndexStatus.COMPLETED)
    chunks = chunks.select_related("store_file__file").defer("store_file__text", "words")
    rows = chunks.in_bulk([pk for pk, _score in best])
    return [PassageMatch(chunk=rows[pk], score=score) for pk, score in best if pk in rows]


def _select_completed(
    store_ids: Sequence[str], files: list[int] | None
) -> tuple[list[int] | None, int]:
    """Return the files to search (None for all), and the passage count of the completed files.

    Files are listed only if the caller restricted them, or if there are passages of incomplete
    files, which are being written or have failed.
    """
    rows = StoreFile.objects.filter(store_id__in=store_ids)
    completed = Q(status=IndexStatus.COMPLETED)
    counted = rows.aggregate(
        total=Sum("chunk_count", filter=completed),
        partial=Count("pk", filter=~completed & Q(chunk_count__gt=0)),
    )
    if counted["partial"]:
        searched = rows.filter(completed)
        if files is not None:
            searched = searched.filter(pk__in=files)
        files = list(searched.values_list("pk", flat=True))
    return files, int(counted["total"] or 0)


def fuse_rankings(rankings: Sequence[Sequence[T]]) -> list[tuple[T, float]]:
    """Merge rankings by reciprocal rank fusion; return (item, score from 0 to 1), best first.

    A score of 1 means first place in every non-empty ranking. Scores depend only on the given
    rankings.
    """
    found = [ranking for ranking in rankings if ranking]
    scores: dict[T, float] = {}
    for ranking in found:
        for place, thing in enumerate(ranking):
            scores[thing] = scores.get(thing, 0.0) + 1 / (RRF_K + 1 + place)
    best = len(found) / (RRF_K + 1)
    ordered = sorted(scores.items(), key=lambda item: -item[1])
    return [(thing, score / best) for thing, score in ordered]
