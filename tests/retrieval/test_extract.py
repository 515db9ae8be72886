"""What is read of which file, and what is refused with which sentence."""

from __future__ import annotations

import pytest

from chat.models.stores import get_page_number
from chat.retrieval.errors import Unreadable, UnsupportedFile
from chat.retrieval.extract import extract
from chat.retrieval.file_types import Kind, detect_kind
from tests.retrieval import files


def test_pdf_keeps_its_pages() -> None:
    found = extract(files.pdf("First page here", "Second page here"), "guide.pdf")
    assert found.kind is Kind.PDF
    assert get_page_number(found.pages, found.text.index("First")) == 1
    assert get_page_number(found.pages, found.text.index("Second")) == 2


def test_word_paragraphs_are_lines() -> None:
    found = extract(files.docx("Returns", "Within 30 days."), "policy.docx")
    assert found.text == "Returns\nWithin 30 days."


def test_html_shows_what_a_reader_sees() -> None:
    page = (
        b"<!doctype html><head><title>T</title><style>p{}</style></head>"
        b"<h1>Returns</h1><p>Within&nbsp;<b>30</b> days.<script>steal()</script></p>"
    )
    assert extract(page, "a.html").text == "Returns\nWithin 30 days."


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_in_any_marked_encoding(encoding: str) -> None:
    assert extract("Grüße aus Köln 😀".encode(encoding), "a.txt").text == "Grüße aus Köln 😀"


def test_text_in_an_older_encoding() -> None:
    text = "Die Rücksendung ist möglich, solange das Gerät unbenutzt geblieben ist. " * 8
    assert "Rücksendung" in extract(text.encode("cp1252"), "a.txt").text


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (b'{"a": 1}', "a.txt", Kind.JSON),
        (b"# Title", "a.md", Kind.MARKDOWN),
        (b"a,b\n1,2", "a.csv", Kind.CSV),
        (b"\x89PNG\r\n\x1a\n....", "a.pdf", Kind.PNG),
        (b"plain", "a.exe", Kind.TEXT),
    ],
)
def test_kind_is_by_content(data: bytes, name: str, kind: Kind) -> None:
    assert detect_kind(data, name) is kind


def test_mislabelled_pdf_is_read_as_what_it_is() -> None:
    assert extract(files.pdf("Words"), "notes.txt").kind is Kind.PDF


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\0\0\0", "empty"),
        (files.pdf("Secret", password="pw"), "password"),
        (files.pdf("Words")[:200], "damaged"),
        (b"%PDF-1.7 rubbish", "damaged"),
        (files.docx("Words")[:-40], "damaged"),
        (files.docx(document=b"<w:document"), "damaged"),
        (files.EXTERNAL_ENTITY, "entities"),
        (files.pdf(""), "scan"),
    ],
)
def test_unreadable_files_say_why(data: bytes, words: str) -> None:
    with pytest.raises(Unreadable, match=words) as caught:
        extract(data)
    assert caught.value.code == "invalid_file"


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n....", b"PK\x05\x06" + b"\0" * 18, bytes(range(256)) * 9]
)
def test_other_kinds_are_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedFile):
        extract(data)


def test_controls_are_left_out() -> None:
    assert extract(b"one\x00 two\x07\r\nthree" + b" more" * 200, "a.txt").text.startswith(
        "one two\nthree"
    )
