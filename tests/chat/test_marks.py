"""Marks in a text that comes in pieces: what goes on is the same however it was cut."""

from __future__ import annotations

from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from hypothesis import given
from hypothesis import strategies as st

from chat.runs.citations.markers import MAX_MARK_LENGTH, CitationMarks, MessageCitations, Passage

KNOWN = "【ab3d:1†Guide.md】"
PASSAGE = Passage(
    file_id="file-a",
    file_name="Guide.md",
    store_file=1,
    start=100,
    end=117,
    text="One. Two. Three.",
    pages=(),
)
SIGNS = ["【", "】", "†", "zz9z:1", ":", "a", " ", "\n", "x" * 99]
PIECES = st.lists(st.sampled_from([KNOWN, KNOWN[:5], KNOWN[5:], *SIGNS]), max_size=30)


class Remembered(CitationMarks):
    """Marks of a thread in which one passage was found."""

    async def _passage(self, mark: str) -> Passage | None:
        return PASSAGE if mark[1:].startswith("ab3d:1") else None


def passed_on(pieces: list[str]) -> tuple[str, MessageCitations]:
    """Return the text that readers get of an answer, and its citations."""
    marks, cited, text = Remembered(tenant_id=uuid4(), thread_id="t"), MessageCitations(), ""
    for piece in pieces:
        settled = async_to_sync(marks.release)(piece, said=text)
        text += settled.text
        for passage, annotation in settled.citations:
            cited.add(passage, annotation)
    return text + marks.flush(), cited


@given(PIECES)
def test_pieces_make_no_difference(pieces: list[str]) -> None:
    text, cited = passed_on(pieces)
    whole, at_once = passed_on(["".join(pieces)])
    assert text == whole
    assert cited.annotations == at_once.annotations


@given(PIECES)
def test_every_annotation_is_where_its_mark_is(pieces: list[str]) -> None:
    text, cited = passed_on(pieces)
    places = [
        (annotation["start_index"], annotation["end_index"]) for annotation in cited.annotations
    ]
    assert [text[start:end] for start, end in places] == [a["text"] for a in cited.annotations]
    assert text.count(KNOWN) <= len(places)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("a【zz9z:1†x】b", "ab"),
        ("a【4:0†source】b", "ab"),
        ("a【ab3d:1】b", "a【ab3d:1】b"),
        ("a【ab3d:2】b", "ab"),
        ("【重要】 a 【see above】", "【重要】 a 【see above】"),
        ("a【b\n†c】", "a【b\n†c】"),
        ("a【【zz9z:1†x】", "a【"),
        ("a【ab3d【zz9z:1†x】:1†Guide.md】b", "a【ab3d:1†Guide.mdb"),
        ("a【see【zz9z:1†x】 above】b", "a【see above】b"),
        ("a【" + "x" * MAX_MARK_LENGTH + "†】", "a【" + "x" * MAX_MARK_LENGTH + "†】"),
        ("a【zz9z:1†cut", "a"),
        ("a【zz9", "a"),
        ("a【as I said", "a【as I said"),
    ],
)
def test_what_stands_for_nothing_is_left_out_and_the_rest_is_not(said: str, text: str) -> None:
    assert passed_on([said])[0] == text
    assert passed_on(list(said))[0] == text
