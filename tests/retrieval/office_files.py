"""Office files and books made for the tests, part by part."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from io import BytesIO

_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
_SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_SLIDE = "http://schemas.openxmlformats.org/presentationml/2006/main"
_DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"
_OPEN = "urn:oasis:names:tc:opendocument:xmlns:"
_OPEN_MEDIA = "application/vnd.oasis.opendocument."
LAUGHS = (
    '<!DOCTYPE w [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">'
    '<!ENTITY leak SYSTEM "file:///etc/passwd">]>'
)

Parts = dict[str, str | bytes]


def archive(parts: Parts) -> bytes:
    """Return an archive of these parts; `mimetype` is not compressed."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in parts.items():
            packed = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            made.writestr(name, content, packed)
    return out.getvalue()


def xlsx(sheets: dict[str, Sequence[Sequence[str | float]]], **more: str | bytes) -> bytes:
    """Return a workbook; a number of the form 45000.5 is not formatted. `more` replaces parts."""
    names = "".join(
        f'<sheet name="{name}" sheetId="{at}" r:id="rId{at}"/>' for at, name in enumerate(sheets, 1)
    )
    parts: Parts = {
        "_rels/.rels": _relations("officeDocument", "xl/workbook.xml"),
        "xl/workbook.xml": f'<workbook xmlns="{_SHEET}" xmlns:r="{_RELATIONS}">'
        f"<sheets>{names}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": _relations(
            "worksheet", *(f"worksheets/sheet{at}.xml" for at, _ in enumerate(sheets, 1))
        ),
        "xl/styles.xml": f'<styleSheet xmlns="{_SHEET}"><cellXfs><xf numFmtId="0"/>'
        '<xf numFmtId="14"/></cellXfs></styleSheet>',
    }
    for at, rows in enumerate(sheets.values(), 1):
        parts[f"xl/worksheets/sheet{at}.xml"] = sheet("".join(_rows(rows)))
    return archive(parts | {name: more[name] for name in more})


def sheet(rows: str, before: str = "") -> str:
    """Return a worksheet's XML."""
    return f'{before}<worksheet xmlns="{_SHEET}"><sheetData>{rows}</sheetData></worksheet>'


def _rows(rows: Sequence[Sequence[str | float]]) -> Iterator[str]:
    for number, row in enumerate(rows, 1):
        cells = "".join(_cell(f"{chr(65 + at)}{number}", value) for at, value in enumerate(row))
        yield f'<row r="{number}">{cells}</row>'


def _cell(place: str, value: str | float) -> str:
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'
    style = 1 if value > 40_000 else 0  # a day since 1900
    return f'<c r="{place}" s="{style}"><v>{value}</v></c>'


def pptx(*slides: str, shown: Sequence[int] | None = None, xml: str | None = None) -> bytes:
    """Return a presentation with a line on each slide, shown in the order `shown` (from 1)."""
    order = shown or range(1, len(slides) + 1)
    ids = "".join(f'<p:sldId id="{255 + at}" r:id="rId{at}"/>' for at in order)
    parts: Parts = {
        "ppt/presentation.xml": f'<p:presentation xmlns:p="{_SLIDE}" xmlns:r="{_RELATIONS}">'
        f"<p:sldIdLst>{ids}</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": _relations(
            "slide", *(f"slides/slide{at}.xml" for at, _ in enumerate(slides, 1))
        ),
    }
    for at, text in enumerate(slides, 1):
        parts[f"ppt/slides/slide{at}.xml"] = xml or (
            f'<p:sld xmlns:p="{_SLIDE}" xmlns:a="{_DRAWING}"><a:p><a:pPr><a:tab/></a:pPr>'
            f"<a:r><a:t>{text}</a:t></a:r></a:p></p:sld>"
        )
    return archive(parts)


def opened(kind: str, body: str, *, before: str = "", manifest: str = "<manifest/>") -> bytes:
    """Return an OpenDocument file: `kind` is "text", "spreadsheet" or "presentation"."""
    names = {"office": "office", "text": "text", "table": "table", "draw": "drawing"}
    spaces = " ".join(f'xmlns:{short}="{_OPEN}{long}:1.0"' for short, long in names.items())
    return archive(
        {
            "mimetype": _OPEN_MEDIA + kind,
            "content.xml": f"{before}<office:document-content {spaces}><office:body>"
            f"<office:{kind}>{body}</office:{kind}></office:body></office:document-content>",
            "META-INF/manifest.xml": manifest,
        }
    )


def epub(*chapters: str, encryption: str | None = None) -> bytes:
    """Return a book whose chapters stand in the archive in the opposite order."""
    numbers = range(1, len(chapters) + 1)
    items = "".join(f'<item id="c{at}" href="chapter%20{at}.xhtml"/>' for at in numbers)
    spine = "".join(f'<itemref idref="c{at}"/>' for at in numbers)
    parts: Parts = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="text/book.opf"/>'
        "</rootfiles></container>",
        "text/book.opf": f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{items}'
        f"</manifest><spine>{spine}</spine></package>",
    }
    for at in reversed(numbers):
        parts[f"text/chapter {at}.xhtml"] = f"<!DOCTYPE html><html><body>{chapters[at - 1]}</body>"
    if encryption is not None:
        parts["META-INF/encryption.xml"] = (
            f'<encryption><CipherReference URI="{encryption}"/></encryption>'
        )
    return archive(parts)


def _relations(kind: str, *targets: str) -> str:
    each = "".join(
        f'<Relationship Id="rId{at}" Type="{_RELATIONS}/{kind}" Target="{target}"/>'
        for at, target in enumerate(targets, 1)
    )
    return f'<Relationships xmlns="{_PACKAGE}">{each}</Relationships>'
