"""Text extraction from EPUB books."""

from __future__ import annotations

from posixpath import dirname, join, normpath
from urllib.parse import unquote

from chat.retrieval.archives import Archive, open_archive
from chat.retrieval.errors import Unreadable
from chat.retrieval.html_text import extract_html
from chat.retrieval.limits import Paged, join_pages

_LOCKS = "META-INF/encryption.xml"


def extract_epub(data: bytes) -> Paged:
    """Return the text of an EPUB's chapters in reading order, without page offsets.

    Raises:
        Unreadable: the book is damaged, DRM-protected, or too long.
    """
    with open_archive(data, "book") as archive:
        chapters = _list_chapters(archive)
        if _LOCKS in archive:
            # Books without DRM may still contain obfuscated fonts; only chapters matter.
            hidden = {
                unquote(element.get("URI", "")) for _tag, element in archive.list_elements(_LOCKS)
            }
            if hidden.intersection(chapters):
                raise Unreadable("This book is protected by DRM. Upload a copy without DRM.")
        text, _starts = join_pages(extract_html(archive.read(path)) for path in chapters)
    return text, ()


def _list_chapters(archive: Archive) -> list[str]:
    container = archive.list_elements("META-INF/container.xml")
    root = next((element["full-path"] for tag, element in container if tag == "rootfile"), "")
    package = archive.list_elements(root)
    paths = {
        element["id"]: normpath(join(dirname(root), unquote(element["href"])))
        for tag, element in package
        if tag == "item"
    }
    return [paths[element["idref"]] for tag, element in package if tag == "itemref"]
