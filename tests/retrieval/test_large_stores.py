"""What a search passes over in a large store, and what it finds all the same."""

from __future__ import annotations

import asyncio

from django.db import transaction

from chat.models import Chunk, File, StoreFile, Vector, VectorStore
from chat.retrieval.search import SearchQuery, search
from tests.retrieval.conftest import make_store
from tests.world import Company, World

PASSAGES = 2_000


def fill(
    company: Company, texts: list[str], directions: list[list[float]] | None = None
) -> VectorStore:
    """Make a store of one file with these passages, and a direction for each."""
    store = make_store(company)
    with company.scope(), transaction.atomic():
        file = File.objects.create(purpose="assistants", filename="a.txt", storage_key=store.pk)
        row = StoreFile.objects.create(
            store=store, file=file, status="completed", chunk_count=len(texts)
        )
        chunks = Chunk.objects.bulk_create(
            Chunk(store_file=row, store_ref=store.pk, index=n, start=n, end=n + 1, text=text)
            for n, text in enumerate(texts)
        )
        Vector.objects.bulk_create(
            Vector(store_ref=store.pk, chunk=chunk, direction=direction)
            for chunk, direction in zip(chunks, directions or [], strict=directions is not None)
        )
    return store


def found(company: Company, store: VectorStore, question: SearchQuery) -> list[str]:
    async def asking(_text: str) -> SearchQuery:
        return question

    with company.scope():
        passages = asyncio.run(search([store], [question.text], asking=asking, most=3))
    return [passage.chunk.text for passage in passages]


def test_the_nearest_of_many_directions_is_found(world: World) -> None:
    # Bits of their number, so that no two agree in all signs; 0.01 breaks no sign.
    directions = [[1.0 if n >> bit & 1 else -1.0 for bit in range(12)] for n in range(PASSAGES)]
    directions[1234] = [x * 1.01 for x in directions[1234]]
    store = fill(world.acme, [str(n) for n in range(PASSAGES)], directions)
    question = SearchQuery(text="", direction=tuple(directions[1234]))
    assert found(world.acme, store, question)[0] == "1234"


def test_a_rare_word_is_found_among_common_ones(world: World) -> None:
    texts = ["The blender is guaranteed."] * PASSAGES
    texts[777] = "The blender is guaranteed, and so is the walnut."
    store = fill(world.acme, texts)
    assert found(world.acme, store, SearchQuery(text="Is the blender or walnut guaranteed?")) == [
        texts[777]
    ]


def test_two_common_words_are_found_together(world: World) -> None:
    texts = ["The blender is here."] * (PASSAGES // 2) + ["It is guaranteed."] * (PASSAGES // 2)
    texts[777] = "The blender is guaranteed."
    store = fill(world.acme, texts)
    question = SearchQuery(text="Is the blender guaranteed against water, fire and ice?")
    assert found(world.acme, store, question) == [texts[777]]
