"""Office files, OpenDocument, EPUB and RTF: what is read of them, and what is said of bad ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from chat.models.stores import get_page_number
from chat.retrieval.errors import Unreadable, UnsupportedFile
from chat.retrieval.extract import ExtractedText, extract
from chat.retrieval.file_types import Kind, detect_media_type
from tests.retrieval import files
from tests.retrieval import office_files as made
from tests.retrieval.test_reading import read

PRICES = made.xlsx({"Prices": [["Nut", "Since"], ["Walnut", 45000]], "Stock": [["Pecan", 12.5]]})
TALK = made.pptx("Shown last", "Shown first", shown=(2, 1))
LETTER = made.opened("text", "<text:h>Returns</text:h><text:p>Within 30 days.</text:p>")
SHEET = made.opened(
    "spreadsheet",
    '<table:table table:name="Nuts"><table:table-row><table:table-cell'
    ' office:value-type="string"><text:p>Walnut</text:p></table:table-cell></table:table-row>'
    "</table:table>",
)
SHOW = made.opened(
    "presentation",
    "<draw:page><text:p>One</text:p></draw:page><draw:page><text:p>Two</text:p></draw:page>",
)
BOOK = made.epub("<h1>One</h1><p>First</p>", "<p>Second</p>")
RICH = (
    rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}}Gr\'fc\'dfe \b caf\u233?\par \u-10179?\u-8704?}"
)
OF_THE_KIND = {
    Kind.XLSX: PRICES,
    Kind.PPTX: TALK,
    Kind.ODT: LETTER,
    Kind.ODS: SHEET,
    Kind.ODP: SHOW,
    Kind.EPUB: BOOK,
    Kind.RTF: RICH,
}
LOCKED_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le")
LOCKED_MANIFEST = "<manifest><encryption-data/></manifest>"


def pages_of(found: ExtractedText) -> list[str]:
    ends = [*found.pages[1:], len(found.text)]
    return [found.text[a:b].strip() for a, b in zip(found.pages, ends, strict=True)]


@pytest.mark.parametrize("kind", OF_THE_KIND)
def test_kinds_are_known_by_content_whatever_the_name(kind: Kind) -> None:
    data = OF_THE_KIND[kind]
    assert (extract(data, "notes.txt").kind, detect_media_type(data, "a.txt")) == (kind, kind)


def test_sheets_are_pages_with_a_line_for_each_row() -> None:
    assert pages_of(extract(PRICES)) == [
        "Prices\nNut\tSince\nWalnut\t2023-03-15",
        "Stock\nPecan\t12.5",
    ]


def test_slides_are_pages_in_the_order_they_are_shown() -> None:
    found = extract(TALK)
    assert pages_of(found) == ["Shown first", "Shown last"]
    assert get_page_number(found.pages, found.text.index("Shown last")) == 2


@pytest.mark.parametrize(
    ("data", "pages"), [(SHOW, ["One", "Two"]), (SHEET, ["Nuts\nWalnut"])], ids=["odp", "ods"]
)
def test_open_document_pages(data: bytes, pages: list[str]) -> None:
    assert pages_of(extract(data)) == pages


def test_open_document_text_leaves_comments_and_deletions_out() -> None:
    body = (
        "<text:tracked-changes><text:p>gone</text:p></text:tracked-changes>"
        "<text:p>Within<text:s/>30\n  days<office:annotation><text:p>why</text:p>"
        "</office:annotation>.</text:p>"
    )
    assert extract(made.opened("text", body)).text == "Within 30 days."


def test_books_are_read_in_their_order() -> None:
    assert extract(BOOK).text == "One\nFirst\n\nSecond"


def test_rtf_in_its_own_encodings() -> None:
    assert extract(RICH).text == "Grüße café\n\U0001f600"


def test_word_shapes_are_read_once_and_tab_stops_not_at_all() -> None:
    document = (
        '<w:document xmlns:w="w" xmlns:m="m"><w:p><w:pPr><w:tab/></w:pPr><w:r><w:t>Walnut</w:t>'
        "</w:r><m:Fallback><w:p><w:t>Walnut</w:t></w:p></m:Fallback></w:p></w:document>"
    )
    assert extract(files.docx(document=document.encode())).text == "Walnut"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (LOCKED_OFFICE, "password"),
        (made.opened("text", "", manifest=LOCKED_MANIFEST), "password"),
        (made.opened("spreadsheet", "", manifest=LOCKED_MANIFEST), "password"),
        (made.epub("<p>x</p>", encryption="text/chapter%201.xhtml"), "protected by DRM"),
        (PRICES[:-40], "damaged"),
        (made.xlsx({"A": [["x"]]}, **{"xl/worksheets/sheet1.xml": "<worksheet><she"}), "damaged"),
        (made.pptx("x", xml="<p:sld"), "damaged"),
        (made.pptx("x", shown=(2,)), "damaged"),
        (made.archive({"mimetype": "application/epub+zip"}), "damaged"),
        (TALK.replace(TALK[60:70], b"\0" * 10, 1), "damaged"),
        (rb"{\rtf1 cut in the mid", "damaged"),
        (rb"{\rtf1\u99999999 x}", "damaged"),
        (made.opened("text", "<text:p>&b;</text:p>", before=made.LAUGHS), "entities"),
        (made.pptx("x", xml=made.LAUGHS + "<a>&leak;</a>"), "entities"),
        (made.opened("text", "<text:p> </text:p>"), "No text"),
    ],
)
def test_unreadable_files_say_why(data: bytes, words: str) -> None:
    with pytest.raises(Unreadable, match=words) as caught:
        extract(data)
    assert caught.value.code == "invalid_file"


@pytest.mark.parametrize("entity", ["&leak;", "&b;"])
def test_entities_of_a_workbook_do_not_expand(entity: str) -> None:
    rows = f'<row r="1"><c r="A1" t="inlineStr"><is><t>{entity}</t></is></c></row>'
    xml = made.sheet(rows, before=made.LAUGHS)
    with pytest.raises(Unreadable, match="damaged"):
        extract(made.xlsx({"A": []}, **{"xl/worksheets/sheet1.xml": xml}))


def test_locked_fonts_do_not_lock_a_book() -> None:
    assert extract(made.epub("<p>Walnut</p>", encryption="fonts/a.otf")).text == "Walnut"


def test_text_in_utf_16_hides_no_entities() -> None:
    document = (made.LAUGHS + "<w><p><t>&b;</t></p></w>").encode("utf-16")
    with pytest.raises(Unreadable, match="entities"):
        extract(files.docx(document=document))


@pytest.mark.parametrize(
    ("data", "package", "words"),
    [
        (PRICES, "python_calamine", "Spreadsheets need the extra “documents”"),
        (RICH, "striprtf", "RTF files need the extra “documents”"),
    ],
)
def test_without_the_extra_a_sentence_names_it(
    monkeypatch: pytest.MonkeyPatch, data: bytes, package: str, words: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UnsupportedFile, match=words):
        extract(data)


@pytest.mark.parametrize(
    "data",
    [b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 old", made.archive({"mimetype": "application/x-other"})],
)
def test_other_office_files_are_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedFile, match="Save the file as PDF"):
        extract(data)


@pytest.mark.parametrize("kind", OF_THE_KIND)
def test_the_process_of_its_own_reads_each_kind(tmp_path: Path, kind: Kind) -> None:
    assert read(tmp_path, OF_THE_KIND[kind]) == extract(OF_THE_KIND[kind])


def test_a_workbook_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    bomb = made.xlsx({"A": []}, **{"xl/worksheets/sheet1.xml": b" " * 220_000_000})
    with pytest.raises(Unreadable, match="too much text to index"):
        read(tmp_path, bomb)


def test_a_slide_shown_too_often_is_refused(tmp_path: Path) -> None:
    talk = made.pptx("x" * 1_000_000, shown=[1] * 500)
    with pytest.raises(Unreadable, match="too much text to index"):
        read(tmp_path, talk)


def test_a_sheet_with_far_corners_takes_no_more_than_it_may(tmp_path: Path) -> None:
    corners = "".join(
        f'<row r="{row}"><c r="{column}{row}"><v>1</v></c></row>'
        for row, column in ((1, "A"), (1_048_576, "XFD"))
    )
    data = made.xlsx({"A": []}, **{"xl/worksheets/sheet1.xml": made.sheet(corners)})
    with pytest.raises(Unreadable, match="too complex to process"):
        read(tmp_path, data)
