"""Text extraction from Word, PowerPoint and OpenDocument files."""

from __future__ import annotations

from posixpath import join, normpath

from chat.retrieval.archives import Markup, open_archive
from chat.retrieval.limits import Paged, join_pages
from chat.retrieval.text import clean

# Shapes are repeated in Fallback elements for older readers; pPr contains tab stops, not tabs.
_SILENT = frozenset({"pPr", "Fallback"})
_WORD = Markup(
    words=frozenset({"t"}),
    lines=frozenset({"p"}),
    signs={"tab": "\t", "br": "\n", "cr": "\n"},
    silent=_SILENT,
)
_SLIDE = Markup(words=frozenset({"t"}), lines=frozenset({"p"}), signs={"br": "\n"}, silent=_SILENT)
_SIGNS = {"s": " ", "tab": "\t", "line-break": "\n"}
_PARAGRAPHS = frozenset({"p", "h"})
_OMITTED = frozenset({"annotation", "tracked-changes", "notes"})
_ODT = Markup(words=_PARAGRAPHS, lines=_PARAGRAPHS, signs=_SIGNS, silent=_OMITTED, collapses=True)
_ODP = Markup(
    words=_PARAGRAPHS,
    lines=_PARAGRAPHS,
    signs=_SIGNS,
    silent=_OMITTED,
    page="page",
    collapses=True,
)


def extract_docx(data: bytes) -> Paged:
    """Return the paragraphs of a DOCX file.

    Raises:
        Unreadable: the file is damaged, encrypted, or too large.
    """
    with open_archive(data, "Word file") as archive:
        (text,) = archive.pages("word/document.xml", _WORD)
    return clean(text), ()


def extract_pptx(data: bytes) -> Paged:
    """Return the slides of a PPTX file as pages, in presentation order.

    Raises:
        Unreadable: the file is damaged, encrypted, or too large.
    """
    with open_archive(data, "presentation") as archive:
        relations = archive.list_elements("ppt/_rels/presentation.xml.rels")
        targets = {
            element["Id"]: element["Target"] for tag, element in relations if tag == "Relationship"
        }
        shown = [
            element
            for tag, element in archive.list_elements("ppt/presentation.xml")
            if tag == "sldId"
        ]
        names = [
            targets[value] for item in shown for key, value in item.items() if key.endswith("}id")
        ]
        paths = (normpath(join("/ppt", name)).lstrip("/") for name in names)
        return join_pages(clean(archive.pages(path, _SLIDE)[0]).strip() for path in paths)


def extract_odt(data: bytes) -> Paged:
    """Return the paragraphs of an ODT file.

    Raises:
        Unreadable: the file is damaged, encrypted, or too large.
    """
    (text,) = _read_content(data, _ODT)
    return clean(text), ()


def extract_odp(data: bytes) -> Paged:
    """Return the slides of an ODP file as pages.

    Raises:
        Unreadable: the file is damaged, encrypted, or too large.
    """
    return join_pages(clean(page).strip() for page in _read_content(data, _ODP))


def _read_content(data: bytes, markup: Markup) -> list[str]:
    with open_archive(data, "OpenDocument file") as archive:
        return archive.pages("content.xml", markup)
