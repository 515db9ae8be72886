"""Search vector stores by words and by meaning, and join both rankings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Sum

from chat.models import Chunk, IndexStatus, StoreFile, VectorStore
from chat.models.vectors import written
from chat.retrieval.embed import Embedder
from chat.retrieval.rank import fused
from tenants.db import call_door

# How far down each ranking is looked before they are joined.
DEPTH = 100


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked: its words, and its direction where there is an embedder."""

    text: str
    embedding: str = ""
    direction: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Found:
    """A passage. `score` is 0 to 1: of its places in the rankings, or its similarity."""

    chunk: Chunk
    score: float

    @property
    def filename(self) -> str:
        """The name of its file."""
        return str(self.chunk.store_file.file.filename)


async def ask(text: str, embedder: Embedder | None) -> Question:
    """Return a question ready for searching.

    Raises:
        UpstreamError: when the embedder's server fails.
    """
    if embedder is None or not text.strip():
        return Question(text=text)
    (direction,) = await embedder.embed([text[: embedder.window_tokens * 8]])
    return Question(text=text, embedding=embedder.id, direction=tuple(direction))


def search(
    stores: Sequence[VectorStore],
    questions: Sequence[Question],
    *,
    most: int,
    threshold: float = 0.0,
    files: list[int] | None = None,
) -> list[Found]:
    """Return the best passages of these stores for the questions together, best first.

    `files` narrows to these rows of StoreFile. The caller has resolved the
    stores for its principal. Must run in the tenant's scope and a transaction.
    What is found, and how it is scored, depends on these stores alone.
    """
    if not stores or files == []:
        return []
    ids = [store.pk for store in stores]
    total = _passages_in(ids)
    rankings = []
    for question in questions:
        rankings.append(call_door("search_words", ids, question.text, files, total, DEPTH))
        comparable = [store.pk for store in stores if store.embedding == question.embedding]
        if question.direction and comparable:
            direction = written(question.direction)
            rankings.append(call_door("search_vectors", comparable, direction, files, DEPTH))
    places = [[row[0] for row in ranking] for ranking in rankings]
    best = [(pk, score) for pk, score in fused(places) if score >= threshold][:most]
    # Without the whole texts of the files that the passages are from.
    chunks = Chunk.objects.select_related("store_file__file").defer("store_file__text", "words")
    rows = chunks.in_bulk([pk for pk, _score in best])
    return [Found(chunk=rows[pk], score=score) for pk, score in best if pk in rows]


def _passages_in(store_ids: Sequence[str]) -> int:
    files = StoreFile.objects.filter(store_id__in=store_ids, status=IndexStatus.COMPLETED)
    return int(files.aggregate(total=Sum("chunk_count"))["total"] or 0)
