"""The test suite's citation check detects invalid citations."""

from __future__ import annotations

from typing import Any

import pytest

from chat.models import Message, StoreFile
from tests.chat.knowing import POLICY, add_file, make_store
from tests.cited import check_citations
from tests.database import TestDatabase
from tests.world import World


@pytest.fixture
def cited(world: World) -> tuple[StoreFile, dict[str, Any]]:
    """Source and a valid citation of its first words, ready to be stored."""
    source = add_file(world.acme, make_store(world.acme), POLICY)
    citation = {
        "type": "file_citation",
        "text": "【ab3d:1†x】",
        "start_index": 4,
        "end_index": 14,
        "file_citation": {"file_id": source.file_id, "quote": POLICY[:14]},
        "atrium": {"store_file": source.pk, "start": 0, "end": 14},
    }
    return source, citation


def store(world: World, citation: dict[str, Any]) -> None:
    text = {"value": "Yes 【ab3d:1†x】.", "annotations": [citation]}
    with world.acme.scope():
        thread = world.acme.threads["alice"]
        content = [{"type": "text", "text": text}]
        Message.objects.create(thread=thread, position=3, role="assistant", content=content)


def test_a_citation_that_holds_passes(
    world: World, cited: tuple[StoreFile, dict[str, Any]], database: TestDatabase
) -> None:
    store(world, cited[1])
    check_citations(database)


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        (None, "start_index", 5),
        ("file_citation", "quote", "Returns policx"),
        ("file_citation", "file_id", "file-other"),
        ("atrium", "store_file", 0),
        ("atrium", "end", 15),
    ],
)
def test_a_citation_that_does_not_hold_is_noticed(
    world: World,
    cited: tuple[StoreFile, dict[str, Any]],
    database: TestDatabase,
    place: str | None,
    name: str,
    value: object,
) -> None:
    citation = cited[1]
    changed = citation if place is None else citation[place]
    changed[name] = value
    store(world, citation)
    with pytest.raises(AssertionError):
        check_citations(database)
    with world.acme.scope():
        Message.objects.filter(position=3).delete()
