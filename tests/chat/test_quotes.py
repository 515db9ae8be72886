"""Which sentence of a passage a citation quotes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.runs.citations.quotes import MAX_PIECE_LENGTH, choose_quote

POLICY = Path("chat/demo/documents/northwind/Returns policy.md").read_text()
PDF = "You may re-\nturn the goods within thirty days of the\ndelivery. Else no\nrefund is due."
TABLE = "Name,Price\nBlender,20\nJar,5\nLid,2"


@pytest.mark.parametrize(
    ("passage", "said", "quote"),
    [
        (POLICY, "The first parcel back costs nothing: a return is free", "first return of an"),
        (POLICY, "A gift card is not paid out.", "Gift cards are not paid out."),
        (POLICY, "Label? Print it. Oversized things cost 35 dollars to collect", "35 dollars"),
        (PDF, "Goods come back within thirty days of delivery", "turn the goods within thirty"),
        (TABLE, "A jar costs 5", "Jar,5"),
        ("犬は青い。猫は赤い。", "猫は赤い", "猫は赤い。"),
        ("Only this.", "Quite another matter", "Only this."),
    ],
)
def test_the_nearest_sentence_is_quoted(passage: str, said: str, quote: str) -> None:
    assert quote in choose_quote(passage, said).text


def test_a_statement_that_rests_on_two_sentences_quotes_both() -> None:
    said = "Water filters do not come back, nor do maps, unless a page is missing"
    text = choose_quote(POLICY, said).text
    assert text.startswith("Water filters")
    assert text.endswith("unless a page is missing.")


def test_what_was_cited_before_does_not_count() -> None:
    said = "Gift cards are not paid out【ab3d:1†a】. Canoes are fetched from the door"
    assert choose_quote(POLICY, said).text.startswith("Canoes")


def test_a_heading_is_not_quoted_where_a_sentence_says_it() -> None:
    assert not choose_quote(POLICY, "What it costs is on us").text.startswith("#")


def test_a_quote_of_endless_text_is_short() -> None:
    assert len(choose_quote("word " * 5000, "word").text) <= 2 * MAX_PIECE_LENGTH


@given(st.text(min_size=1), st.text())
def test_a_quote_is_the_passages_own_text(passage: str, said: str) -> None:
    quote = choose_quote(passage, said)
    assert passage[quote.start : quote.end] == quote.text
    assert quote.text
