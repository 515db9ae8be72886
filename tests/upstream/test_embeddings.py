"""Vectors from a model server: right texts, right order, right length; or one clear error."""

from __future__ import annotations

import asyncio
import math

import pytest

from chat.upstream.embeddings import BATCH_SIZE, UpstreamEmbedder
from chat.upstream.errors import UpstreamError
from tests.upstream.server import ScriptedServer


def embedder(server: ScriptedServer, **options: int) -> UpstreamEmbedder:
    return UpstreamEmbedder(model="test-embedding", base_url=server.base_url, **options)


def test_each_text_has_its_vector(upstream_server: ScriptedServer) -> None:
    async def both() -> list[list[float]]:
        made = embedder(upstream_server)
        vectors = await made.embed(["one", "two", "one"])
        await made.aclose()
        return vectors

    first, second, third = asyncio.run(both())
    assert first == third != second
    assert math.isclose(math.fsum(x * x for x in first), 1, rel_tol=1e-5)


def test_many_texts_go_in_several_requests(upstream_server: ScriptedServer) -> None:
    async def many() -> int:
        made = embedder(upstream_server)
        vectors = await made.embed([f"text {number}" for number in range(BATCH_SIZE + 1)])
        await made.aclose()
        return len(vectors)

    assert asyncio.run(many()) == BATCH_SIZE + 1


def test_long_vectors_are_cut_and_scaled(upstream_server: ScriptedServer) -> None:
    async def cut() -> list[float]:
        made = embedder(upstream_server, most_dimensions=3)
        (vector,) = await made.embed(["one"])
        await made.aclose()
        return vector

    vector = asyncio.run(cut())
    assert len(vector) == 3
    assert math.isclose(math.fsum(x * x for x in vector), 1, rel_tol=1e-5)


def test_a_missing_server_is_an_upstream_error() -> None:
    async def ask() -> None:
        made = UpstreamEmbedder(model="m", base_url="http://127.0.0.1:9/v1", connect_timeout=1)
        try:
            await made.embed(["one"])
        finally:
            await made.aclose()

    with pytest.raises(UpstreamError):
        asyncio.run(ask())
