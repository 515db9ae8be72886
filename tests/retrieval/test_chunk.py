"""Chunks cover the text, overlap, and end where a reader would pause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.retrieval.chunk import BYTES_PER_TOKEN, chunks
from chat.retrieval.search import fuse_rankings


@given(
    st.text(alphabet=st.sampled_from("ab c.\n😀é"), max_size=600),
    st.integers(min_value=5, max_value=60),
    st.floats(min_value=0, max_value=0.5),
)
def test_every_word_is_in_a_chunk_of_bounded_size(text: str, most: int, share: float) -> None:
    covered: set[int] = set()
    for chunk in chunks(text, max_tokens=most, overlap_tokens=int(most * share)):
        assert chunk.text == text[chunk.start : chunk.end]
        assert len(chunk.text.encode()) <= most * BYTES_PER_TOKEN
        covered.update(range(chunk.start, chunk.end))
    assert all(at in covered for at, letter in enumerate(text) if not letter.isspace())


def test_chunks_overlap() -> None:
    text = " ".join(f"word{number}" for number in range(400))
    first, second, *_rest = chunks(text, max_tokens=100, overlap_tokens=50)
    assert first.start < second.start < first.end


def test_chunks_end_at_paragraphs() -> None:
    text = "A sentence of some words. " * 12 + "\n\n" + "Another paragraph. " * 12
    first = next(chunks(text, max_tokens=90, overlap_tokens=0))
    assert text[first.end : first.end + 3].strip() == ""
    assert first.text.endswith("words.")


def test_a_text_without_spaces_is_cut_too() -> None:
    assert len(list(chunks("x" * 10_000, max_tokens=100, overlap_tokens=50))) > 20


def test_too_much_overlap_is_refused() -> None:
    with pytest.raises(ValueError, match="half"):
        next(chunks("words", max_tokens=100, overlap_tokens=51))


def test_what_both_rankings_find_is_first() -> None:
    ranked = fuse_rankings([["a", "b", "c"], ["d", "b", "e"]])
    assert ranked[0][0] == "b"
    assert fuse_rankings([["a"], ["a"]]) == [("a", 1.0)]


def test_an_empty_ranking_changes_no_score() -> None:
    assert fuse_rankings([["a", "b"], []]) == fuse_rankings([["a", "b"]])
