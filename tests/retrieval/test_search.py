"""What a search finds, and that nobody else's documents change it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from chat.errors import InvalidInput
from chat.models import StoreFile
from chat.retrieval.filters import build_condition
from tenants.db import call_privileged
from tests.retrieval.conftest import fill, find, make_store
from tests.world import World


def names(found: list[Any]) -> list[str]:
    return [item.filename for item in found]


def test_the_rarer_word_decides(world: World, policies: dict[str, str]) -> None:
    store = make_store(world.acme)
    for name, text in policies.items():
        fill(world.acme, store, name, text)
    assert names(find(world.acme, [store], "How can I return my blender?"))[0] == "returns.txt"


def test_words_match_by_their_stems(world: World, policies: dict[str, str]) -> None:
    store = make_store(world.acme)
    for name, text in policies.items():
        fill(world.acme, store, name, text)
    assert names(find(world.acme, [store], "guarantees"))[0] == "warranty.txt"


def test_only_the_stores_asked_for_are_searched(world: World) -> None:
    first, second = make_store(world.acme), make_store(world.acme)
    fill(world.acme, second, "a.txt", "The word is walnut.")
    assert find(world.acme, [first], "walnut") == []


@pytest.mark.parametrize(
    "text", ["", "   ", "'", "\\", "a:b & c | !d <-> e", "the of and", "(" * 99]
)
def test_any_question_is_only_words(world: World, text: str) -> None:
    store = make_store(world.acme)
    fill(world.acme, store, "a.txt", "Some words: it's a path C:\\temp and an e-mail a@b.example.")
    find(world.acme, [store], text)


def test_quotes_and_backslashes_are_found(world: World) -> None:
    store = make_store(world.acme)
    fill(world.acme, store, "a.txt", "Look in C:\\temp\\file or at /usr/lib/it's.")
    assert names(find(world.acme, [store], "/usr/lib/it's C:\\temp\\file")) == ["a.txt"]


def test_another_company_changes_neither_results_nor_scores(
    world: World, policies: dict[str, str]
) -> None:
    store = make_store(world.acme)
    for name, text in policies.items():
        fill(world.acme, store, name, text)
    before = [(item.filename, item.score) for item in find(world.acme, [store], "return a blender")]
    other = make_store(world.globex)
    for number in range(20):
        fill(world.globex, other, f"{number}.txt", f"A blender to return, number {number}.")
    after = [(item.filename, item.score) for item in find(world.acme, [store], "return a blender")]
    assert before == after != []


@pytest.mark.parametrize("door", ["search_words", "search_vectors"])
def test_a_foreign_store_answers_like_none(world: World, door: str) -> None:
    other = make_store(world.globex)
    fill(world.globex, other, "a.txt", "The word is walnut.")
    asked = {"search_words": ("walnut", None, 9, 9), "search_vectors": ("[1,0]", None, 9)}[door]
    with world.acme.scope(), transaction.atomic():
        assert call_privileged(door, [other.pk], *asked) == []


def test_a_cut_claim_stores_nothing(world: World) -> None:
    store = make_store(world.acme)
    row = fill(world.acme, store, "a.txt", "The word is walnut.")
    assert row.status == "completed"
    assert row.chunk_count == 1


FILTERED = [
    ({"type": "eq", "key": "year", "value": 2024}, {"a"}),
    ({"type": "ne", "key": "year", "value": 2024}, {"b", "c"}),
    ({"type": "gt", "key": "year", "value": 2024}, {"b"}),
    ({"type": "lte", "key": "year", "value": 2025}, {"a", "b"}),
    ({"type": "in", "key": "kind", "value": ["policy", "guide"]}, {"a", "b"}),
    ({"type": "nin", "key": "kind", "value": ["policy"]}, {"b", "c"}),
    ({"type": "eq", "key": "final", "value": True}, {"c"}),
    ({"type": "eq", "key": 'odd__key" $', "value": "x"}, {"c"}),
    (
        {
            "type": "or",
            "filters": [
                {"type": "eq", "key": "year", "value": 2025},
                {"type": "and", "filters": [{"type": "eq", "key": "final", "value": True}]},
            ],
        },
        {"b", "c"},
    ),
]


@pytest.mark.parametrize(("given", "expected"), FILTERED)
def test_attributes_filter(world: World, given: dict[str, Any], expected: set[str]) -> None:
    store = make_store(world.acme)
    attributes: dict[str, dict[str, Any]] = {
        "a": {"year": 2024, "kind": "policy"},
        "b": {"year": 2025, "kind": "guide"},
        "c": {"year": "2030", "final": True, 'odd__key" $': "x"},
    }
    for name, own in attributes.items():
        fill(world.acme, store, name, "The word is walnut.", attributes=own)
    with world.acme.scope(), transaction.atomic():
        files = list(StoreFile.objects.filter(build_condition(given)).values_list("pk", flat=True))
    assert set(names(find(world.acme, [store], "walnut", files=files))) == expected


@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        {"type": "like", "key": "a", "value": "b"},
        {"type": "eq", "key": "", "value": 1},
        {"type": "eq", "key": "a", "value": None},
        {"type": "eq", "key": "a", "value": 1, "more": 1},
        {"type": "gt", "key": "a", "value": "1"},
        {"type": "in", "key": "a", "value": []},
        {"type": "and", "filters": []},
        {"type": "and", "filters": [{"type": "or", "filters": "a"}]},
    ],
)
def test_bad_filters_are_refused(given: Any) -> None:
    with pytest.raises(InvalidInput):
        build_condition(given)
