"""Text extraction from files, with the offsets of their pages.

Files are untrusted: this code runs in a separate process with bounded time and memory
(chat.retrieval.subprocess_reader).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from chat.retrieval import office
from chat.retrieval.epub import extract_epub
from chat.retrieval.errors import Unreadable, UnsupportedFile
from chat.retrieval.file_types import Kind, detect_kind
from chat.retrieval.html_text import extract_html
from chat.retrieval.limits import MAX_CHARACTERS, MAX_PAGES, TOO_LONG, Paged, join_pages
from chat.retrieval.rtf import extract_rtf
from chat.retrieval.spreadsheets import extract_spreadsheet
from chat.retrieval.text import clean, decode


@dataclass(frozen=True, kw_only=True)
class ExtractedText:
    """A file's text. `pages` are the offsets (code points) of its pages; empty without pages."""

    kind: Kind
    text: str
    pages: tuple[int, ...] = ()


def extract(data: bytes, name: str = "") -> ExtractedText:
    """Return the text of a file.

    Raises:
        Unreadable: the file is damaged, encrypted, empty, or too long.
        UnsupportedFile: the file type is not supported (this includes images), or needs an
            extra that is not installed.
    """
    kind = detect_kind(data, name)
    if kind.is_image:
        raise UnsupportedFile("Images cannot be searched. Attach them to a message instead.")
    if not kind.is_readable:
        raise UnsupportedFile(
            f"{kind.plural} need the extra “documents”, which is not installed. Save as PDF."
        )
    text, pages = _READERS.get(kind, _extract_plain)(data)
    if not text.strip():
        raise Unreadable("No text was found in this file. It may be a scanned document.")
    if len(text) > MAX_CHARACTERS:
        raise Unreadable(TOO_LONG)
    return ExtractedText(kind=kind, text=text, pages=pages)


def _extract_plain(data: bytes) -> Paged:
    return decode(data), ()


def _extract_pdf(data: bytes) -> Paged:
    # Imported here because only the reader process needs it, never the server.
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(BytesIO(data), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable(
                "This PDF is password-protected. Remove the password and upload it again."
            )
        if len(reader.pages) > MAX_PAGES:
            raise Unreadable(TOO_LONG)
        return join_pages(clean(page.extract_text() or "").strip() for page in reader.pages)
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, OSError):
        # pypdf raises many built-in exception types on damaged files.
        raise Unreadable("This PDF is damaged and cannot be read.") from None
    except NotImplementedError:
        raise Unreadable("This PDF uses an unsupported encryption.") from None


def _extract_html(data: bytes) -> Paged:
    return extract_html(data), ()


_READERS: dict[Kind, Callable[[bytes], Paged]] = {
    Kind.PDF: _extract_pdf,
    Kind.DOCX: office.extract_docx,
    Kind.PPTX: office.extract_pptx,
    Kind.ODT: office.extract_odt,
    Kind.ODP: office.extract_odp,
    Kind.EPUB: extract_epub,
    Kind.HTML: _extract_html,
    Kind.XLSX: extract_spreadsheet,
    Kind.ODS: extract_spreadsheet,
    Kind.RTF: extract_rtf,
}
