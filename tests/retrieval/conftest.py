"""Stores that are filled the way the job fills them, in both companies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import transaction

from chat.models import File, StoreFile, VectorStore
from chat.retrieval.embed import Embedder
from chat.retrieval.extract import ExtractedText
from chat.retrieval.file_types import Kind
from chat.retrieval.index import IndexedFile, claim_file, embed_passages, split_passages
from chat.retrieval.search import PassageMatch, embed_query, search
from tests.indexing import store_indexed
from tests.world import Company

Fill = Callable[..., StoreFile]


def make_store(company: Company, name: str = "Documents") -> VectorStore:
    """Return a store of the company's own."""
    with company.scope():
        store: VectorStore = VectorStore.objects.create(name=name)
    return store


def fill(
    company: Company,
    store: VectorStore,
    filename: str,
    text: str,
    *,
    embedder: Embedder | None = None,
    attributes: dict[str, Any] | None = None,
) -> StoreFile:
    """Index a text as a file of the store and return its row."""
    with company.scope():
        file = File.objects.create(purpose="assistants", filename=filename, storage_key=filename)
        row: StoreFile = StoreFile.objects.create(
            store=store,
            file=file,
            attributes=attributes or {},
            max_chunk_tokens=200,
            overlap_tokens=50,
        )
    task = claim_file(company.tenant.pk, row.pk)
    assert task is not None
    extracted = ExtractedText(kind=Kind.TEXT, text=text)
    passages = split_passages(extracted, max_tokens=200, overlap_tokens=50)
    vectors = asyncio.run(embed_passages(passages, embedder))
    name = embedder.id if embedder else ""
    done = IndexedFile(extracted=extracted, passages=passages, embedding=name, vectors=vectors)
    store_indexed(task, done)
    with company.scope(), transaction.atomic():
        row.refresh_from_db()
        store.refresh_from_db()
    return row


def find(
    company: Company,
    stores: list[VectorStore],
    *questions: str,
    embedder: Embedder | None = None,
    **options: Any,
) -> list[PassageMatch]:
    """Search and return what was found, with the rows that tests look at."""
    asking = partial(embed_query, embedder=embedder)
    with company.scope():
        return asyncio.run(search(stores, questions, asking=asking, **{"most": 5, **options}))


@pytest.fixture
def policies() -> dict[str, str]:
    """A few texts that have words in common."""
    return {
        "returns.txt": "Returns. You may return a blender within 30 days if it is unused.",
        "shipping.txt": "Shipping. A blender is shipped within two days by parcel.",
        "warranty.txt": "Warranty. Motors carry a guarantee of five years against defects.",
    }
