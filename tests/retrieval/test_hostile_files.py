"""Files that are made to keep a reader busy: twice the file is about twice the work."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from chat.retrieval.chunk import chunks
from chat.retrieval.errors import Unreadable
from chat.retrieval.extract import extract
from chat.retrieval.html_text import extract_html
from chat.retrieval.text import clean
from tests.retrieval import files
from tests.retrieval.office_files import archive

# Of the larger file, against the smaller one. What takes quadratic time takes TIMES * TIMES.
TIMES = 8
PAGE = b"<!doctype html>"
BEGINS_FIELD = rb"{\rtf1{\field{\*\fldinst{"


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time that `work` takes, at least, of this thread alone."""
    taken = []
    for _trial in range(3):
        begun = time.thread_time()
        with suppress(Unreadable):
            work()
        taken.append(time.thread_time() - begun)
    return min(taken)


def assert_linear(work: Callable[[int], object], *, size: int) -> None:
    """Assert that `work` on TIMES as much takes nowhere near TIMES * TIMES as long."""
    # What a small file costs at all, and the clock's own steps, are no growth.
    small, large = seconds(lambda: work(size)), seconds(lambda: work(size * TIMES))
    assert large < 0.02 or large < small * TIMES * TIMES / 2.5, (small, large)


@pytest.mark.parametrize(
    "piece",
    [
        b"<!--",
        b"<![CDATA[",
        b"<!",
        b"<?",
        b"</",
        b"<",
        b"<a ",
        b"</a",
        b'<a b="',
        b"<a b='>",
        b"""<a b="'><p c='">""",
        b"<p =",
        b"<script>",
        b"<style></scrip",
        b"<title></titl",
        b"<textarea>",
        b"<svg></style>",
        b"<div>",
        b"&#9",
        b"&amp",
        b"&abcdefghijklmnopqrstuvwxyzabcdef",
    ],
)
def test_a_page_of_html(piece: bytes) -> None:
    assert_linear(lambda count: extract_html(PAGE + piece * count), size=5000)


@pytest.mark.parametrize("reference", [b"&#" + b"9" * 100_000, b"&#" + b"0" * 9000 + b"65;"])
def test_a_long_character_reference_is_read(reference: bytes) -> None:
    assert extract_html(PAGE + b"<p>a" + reference + b"b") == "a\ufffdb"


def test_marks_upon_marks() -> None:
    # Each pair has to change places with all before it.
    assert_linear(lambda count: clean("a" + "\u0301\u0323" * count), size=1000)


def test_a_few_marks_are_composed_as_ever() -> None:
    assert clean("e\u0301 a\u0301\u0323") == "\u00e9 \u1ea1\u0301"


@pytest.mark.parametrize("beginning", [rb"{\rtf1", rb"{\rtf1{\fonttbl", BEGINS_FIELD])
@pytest.mark.parametrize(
    "piece",
    [
        rb"{\field{\*\fldinst{",
        rb'{\field{\*\fldinst{HYPERLINK "a"}}{ ',
        rb'HYPERLINK "x" ',
        rb'HYPERLINK "}}{ ',
        rb"\f1 ",
        rb"\f1\fcharset0 ",
        rb"{\fonttbl",
        rb"\'e4",
        b"{",
        b"a ",
    ],
)
def test_rich_text(beginning: bytes, piece: bytes) -> None:
    pytest.importorskip("striprtf")
    assert_linear(lambda count: extract(beginning + piece * count + b"}", "a.rtf"), size=500)


def test_links_of_rich_text_are_read_in_long_lines() -> None:
    pytest.importorskip("striprtf")
    link = rb'{\field{\*\fldinst{HYPERLINK "http://a.example/"}}{\fldrslt{ here}}} or '
    found = extract(rb"{\rtf1{\fonttbl{\f0 Arial;}}" + b"word " * 3000 + link + rb"\'e4}", "a.rtf")
    assert found.text.endswith('here("http://a.example/") or ä')


def test_a_long_namespace_is_refused() -> None:
    uri = "x" * 100_000
    xml = f'<w:document xmlns:w="{uri}"><w:body>{"<w:t/>" * 1000}</w:body></w:document>'
    with pytest.raises(Unreadable, match="damaged"):
        extract(archive({"word/document.xml": xml}), "a.docx")


@pytest.mark.parametrize("piece", ["<w:p>", "<w:p/>", "<w:t> </w:t>", "<w:p a='b'/>"])
def test_a_word_file(piece: str) -> None:
    name = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'

    def read(count: int) -> None:
        body = f"<w:document {name}>{piece * count}</w:document>"
        extract(files.docx(document=body.encode()), "a.docx")

    assert_linear(read, size=2000)


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.md", "a.txt", "a.eml", "a.xml"])
@pytest.mark.parametrize(
    "piece", [b'",', b"[", b"{", b"> ", b"\r", b"*", b"`", b"=?utf-8?q?", b"<a"]
)
def test_plain_texts(name: str, piece: bytes) -> None:
    assert_linear(lambda count: extract(piece * count, name), size=20_000)


@pytest.mark.parametrize("piece", ["\n", "\n ", " ", "a", ". ", "\n\t\n", "\u4e2d", "a\n \n"])
def test_cutting_a_text(piece: str) -> None:
    assert_linear(lambda count: list(chunks(piece * count)), size=10_000)
