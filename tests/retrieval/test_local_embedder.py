"""The embedder of this machine serves questions while it reads documents."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from threading import Event

from chat.retrieval.local_embedder import BATCH, LocalEmbedder
from tests.clock import WAIT_SECONDS


class Held(LocalEmbedder):
    """One whose documents are not read before they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.let_go = Event(), Event()

    def _load(self) -> None:
        self._model = self

    def _embed_batch(self, texts: Sequence[str]) -> list[list[float]]:
        if len(texts) == BATCH:
            self.begun.set()
            assert self.let_go.wait(WAIT_SECONDS)
        return [[1.0]] * len(texts)


async def test_a_question_waits_for_no_document() -> None:
    embedder = Held()
    documents = [asyncio.create_task(embedder.embed(["words"] * BATCH * 2)) for _each in range(40)]
    await asyncio.to_thread(embedder.begun.wait, WAIT_SECONDS)
    assert await asyncio.wait_for(embedder.embed(["a question"]), WAIT_SECONDS / 2) == [[1.0]]
    embedder.let_go.set()
    assert len(await documents[-1]) == BATCH * 2
    await asyncio.gather(*documents)
