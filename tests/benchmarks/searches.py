"""Search and indexing as the server does them, in a process of its own that prints what it took.

Runs as a module in the environment of the stand: it is Django with the serving role.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from statistics import median
from typing import Any
from uuid import UUID

import django
import uvloop

from tests.benchmarks.measures import quantile
from tests.benchmarks.passages import STORE, questions, texts
from tests.benchmarks.stand import CHECKOUT

ASKED, MOST = 100, 20
TICK_SECONDS = 0.001
KIND_WORDS, VECTOR_WORDS = 80_000, 8_000


def measured(tenant_id: UUID) -> dict[str, float]:
    """Measure in a new process; returns figures by the names of their goals."""
    command = [sys.executable, "-m", "tests.benchmarks.searches", str(tenant_id)]
    done = subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


async def _measure(tenant_id: UUID) -> dict[str, float]:
    return await _searches(tenant_id) | await _indexing(tenant_id)


async def _searches(tenant_id: UUID) -> dict[str, float]:
    from chat.retrieval.embed import get_embedder
    from chat.retrieval.search import embed_query

    asked = questions(ASKED)
    with_meaning, by_words = (
        partial(embed_query, embedder=get_embedder()),
        partial(embed_query, embedder=None),
    )
    # The first question loads the model, the first search opens connections.
    await _search(tenant_id, asked[0], with_meaning)
    whole, embedding, words = [], [], []
    async with _ticks() as waits:
        for text in asked:
            began = time.perf_counter()
            await with_meaning(text)
            embedding.append(1000 * (time.perf_counter() - began))
            began = time.perf_counter()
            await _search(tenant_id, text, with_meaning)
            whole.append(1000 * (time.perf_counter() - began))
            began = time.perf_counter()
            await _search(tenant_id, text, by_words)
            words.append(1000 * (time.perf_counter() - began))
    return {
        "search, 100,000 passages, p50": median(whole),
        "search, 100,000 passages, p95": quantile(whole, 0.95),
        "search by words alone, p50": median(words),
        "embedding of a question, p50": median(embedding),
        "event loop's longest wait during searches": 1000 * max(waits),
    }


async def _search(tenant_id: UUID, text: str, asking: Any) -> None:
    from chat.retrieval.search import search
    from tenants.db import in_db
    from tenants.scope import tenant_scope

    with tenant_scope(tenant_id):
        store = await in_db(_store)
        if not await search([store], [text], asking=asking, most=MOST):
            raise RuntimeError(f"Nothing was found: {text}")


def _store() -> Any:
    from django.db import transaction

    from chat.models import VectorStore

    with transaction.atomic():
        return VectorStore.objects.get(pk=STORE)


@asynccontextmanager
async def _ticks() -> AsyncIterator[list[float]]:
    """Wake up each millisecond meanwhile, and note by how many seconds too late."""
    waits = [0.0]

    async def tick() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(TICK_SECONDS)
            waits.append(time.perf_counter() - began - TICK_SECONDS)

    ticking = asyncio.create_task(tick())
    try:
        yield waits
    finally:
        ticking.cancel()


async def _indexing(tenant_id: UUID) -> dict[str, float]:
    """Files of each kind without vectors, in MB of text a second; then passages with vectors."""
    from chat.retrieval import embed

    with_vectors, (plain,) = embed.get_embedder(), texts(1, KIND_WORDS, seed=9)
    (short,) = texts(1, VECTOR_WORDS, seed=10)
    figures = {}
    embed._built[:] = [None]
    for name, data in _files(plain).items():
        seconds, _passages = await _index(tenant_id, name, data)
        figures[f"indexing, {name.partition('.')[2]}"] = len(plain) / 1e6 / seconds
    embed._built[:] = [with_vectors]
    seconds, passages = await _index(tenant_id, "short.txt", short.encode())
    return figures | {"indexing with vectors": passages / seconds}


def _files(text: str) -> dict[str, bytes]:
    """Return files of each kind that hold the words of `text`."""
    from tests.retrieval import files

    words = text.split()
    lines = [" ".join(words[at : at + 12]) for at in range(0, len(words), 12)]
    pages = [" ".join(words[at : at + 400]) for at in range(0, len(words), 400)]
    html = "".join(f"<p>{line}</p>" for line in lines)
    return {
        "a.txt": "\n".join(lines).encode(),
        "a.md": "\n\n".join(f"- {line}" for line in lines).encode(),
        "a.html": f"<!doctype html><html><body>{html}</body></html>".encode(),
        "a.csv": "\n".join(line.replace(" ", ",") for line in lines).encode(),
        "a.json": json.dumps(lines).encode(),
        "a.pdf": files.pdf(*pages),
        "a.docx": files.docx(*lines),
    }


async def _index(tenant_id: UUID, name: str, data: bytes) -> tuple[float, int]:
    """Index one file as the background does; returns seconds and the number of passages."""
    from chat.retrieval.pipeline import index_file
    from tenants.db import in_db

    row = await in_db(_waiting, tenant_id, name, data)
    began = time.perf_counter()
    await index_file(tenant_id, row)
    seconds = time.perf_counter() - began
    return seconds, await in_db(_passages, tenant_id, row)


def _waiting(tenant_id: UUID, name: str, data: bytes) -> int:
    """Store a file and put it into a store of its own; returns the row to index."""
    from django.core.files.base import ContentFile
    from django.core.files.storage import default_storage
    from django.db import transaction

    from chat.models import File, StoreFile, VectorStore
    from tenants.scope import tenant_scope

    key = default_storage.save(f"{tenant_id}/bench-{name}", ContentFile(data))
    with tenant_scope(tenant_id), transaction.atomic():
        file = File.objects.create(purpose="assistants", filename=name, storage_key=key)
        store = VectorStore.objects.create()
        return int(StoreFile.objects.create(store=store, file=file).pk)


def _passages(tenant_id: UUID, row: int) -> int:
    from django.db import transaction

    from chat.models import StoreFile
    from tenants.scope import tenant_scope

    with tenant_scope(tenant_id), transaction.atomic():
        indexed = StoreFile.objects.get(pk=row)
    if indexed.status != "completed":
        raise RuntimeError(f"Indexing failed: {indexed.error_message}")
    return int(indexed.chunk_count)


if __name__ == "__main__":
    django.setup()
    json.dump(uvloop.run(_measure(UUID(sys.argv[1]))), sys.stdout)
