"""How often the passage that answers a question is among the first five."""

from __future__ import annotations

from pathlib import Path

import pytest

from chat.models import VectorStore
from chat.retrieval.embed import Embedder
from chat.retrieval.local_embedder import LocalEmbedder
from tests.retrieval.conftest import fill, find, make_store
from tests.retrieval.questions import HARBOR, NORTHWIND
from tests.world import Company, World

DOCUMENTS = Path(__file__).resolve().parents[2] / "chat" / "demo" / "documents"
QUESTIONS = (*NORTHWIND, *HARBOR)
# Shares of QUESTIONS. Raise them when search improves; a change that lowers them has to say why.
MIN_LEXICAL, MIN_HYBRID = 0.76, 0.84


def recall(company: Company, store: VectorStore, embedder: Embedder | None) -> float:
    hits = 0
    for question, phrase in QUESTIONS:
        found = find(company, [store], question, embedder=embedder)
        hits += any(phrase in " ".join(item.chunk.text.split()) for item in found)
    return hits / len(QUESTIONS)


@pytest.fixture(scope="module")
def embedder() -> LocalEmbedder:
    return LocalEmbedder()


@pytest.fixture
def store(world: World, embedder: LocalEmbedder) -> VectorStore:
    made = make_store(world.acme)
    for path in sorted(DOCUMENTS.rglob("*.md")):
        name = f"{path.parent.name} {path.name}"
        fill(world.acme, made, name, path.read_text(), embedder=embedder)
    return made


def test_search_finds_what_people_ask_for(
    world: World, store: VectorStore, embedder: LocalEmbedder
) -> None:
    lexical = recall(world.acme, store, None)
    hybrid = recall(world.acme, store, embedder)
    assert lexical >= MIN_LEXICAL
    assert hybrid >= MIN_HYBRID
    assert hybrid > lexical
