"""The text of a file, with the places where its pages begin.

Everything here reads what strangers made: it runs in a process of its own
(chat.retrieval.reading), which bounds its time and memory.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from io import BytesIO
from xml.etree import ElementTree as ET  # nosec B405

from chat.retrieval.errors import Unreadable, Unsupported
from chat.retrieval.kinds import Kind, kind_of
from chat.retrieval.text import clean, decode

MOST_CHARACTERS = 20_000_000
MOST_PAGES = 10_000
MOST_UNZIPPED = 200_000_000
TOO_LONG = "The file has more text than can be indexed: split it."


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """A file's text; `pages` are the offsets (code points) where its pages begin, if it has any."""

    kind: Kind
    text: str
    pages: tuple[int, ...] = ()


def extract(data: bytes, name: str = "") -> Extracted:
    """Return the text of a file.

    Raises:
        Unreadable: for one that is damaged, locked, empty, or too long.
        Unsupported: for one of another kind, images among them.
    """
    kind = kind_of(data, name)
    if kind.is_image:
        raise Unsupported("Pictures have no text to search. Attach them to a message instead.")
    text, pages = _READERS.get(kind, _plain)(data)
    if not text.strip():
        raise Unreadable("No text was found in the file. Is it a scan?")
    if len(text) > MOST_CHARACTERS:
        raise Unreadable(TOO_LONG)
    return Extracted(kind=kind, text=text, pages=pages)


def _plain(data: bytes) -> tuple[str, tuple[int, ...]]:
    return decode(data), ()


def _pdf(data: bytes) -> tuple[str, tuple[int, ...]]:
    # Files are read in a process of its own: a server never needs this.
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(BytesIO(data), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("This PDF is locked with a password: upload it without.")
        if len(reader.pages) > MOST_PAGES:
            raise Unreadable(TOO_LONG)
        return _joined(clean(page.extract_text() or "").strip() for page in reader.pages)
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, OSError):
        # What the reader trips over in a damaged file is of many types.
        raise Unreadable("This PDF is damaged and cannot be read.") from None
    except NotImplementedError:
        raise Unreadable("This PDF uses a lock that cannot be opened.") from None


def _joined(pages: Iterator[str]) -> tuple[str, tuple[int, ...]]:
    """Join pages by an empty line and return where each begins."""
    texts, starts, at = [], [], 0
    for text in pages:
        starts.append(at)
        texts.append(text)
        at += len(text) + 2
        if at > MOST_CHARACTERS:
            raise Unreadable(TOO_LONG)
    return "\n\n".join(texts), tuple(starts)


_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"


def _docx(data: bytes) -> tuple[str, tuple[int, ...]]:
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MOST_UNZIPPED:
                raise Unreadable(TOO_LONG)
            with archive.open("word/document.xml") as part:
                # The declared size may lie: no more than that is read.
                document = part.read(MOST_UNZIPPED + 1)
        if len(document) > MOST_UNZIPPED:
            raise Unreadable(TOO_LONG)
        if b"<!DOCTYPE" in document or b"<!ENTITY" in document:
            raise Unreadable("This Word file declares entities, which none needs.")
        root = ET.fromstring(document)  # nosec B314 - without a document type, nothing expands
    except (zipfile.BadZipFile, ET.ParseError, KeyError, ValueError, EOFError, OSError):
        raise Unreadable("This Word file is damaged and cannot be read.") from None
    except (RuntimeError, NotImplementedError):
        raise Unreadable("This Word file is locked with a password: upload it without.") from None
    return clean("\n".join(_paragraphs(root))), ()


def _paragraphs(root: ET.Element) -> Iterator[str]:
    for paragraph in root.iter(f"{_W}p"):
        pieces = []
        for node in paragraph.iter():
            if node.tag == f"{_W}t":
                pieces.append(node.text or "")
            elif node.tag == f"{_W}tab":
                pieces.append("\t")
            elif node.tag in (f"{_W}br", f"{_W}cr"):
                pieces.append("\n")
        yield "".join(pieces)


_BLOCKS = re.compile(
    "address|article|aside|blockquote|br|dd|div|dl|dt|figcaption|figure|footer|form|h[1-6]|"
    "header|hr|li|main|nav|ol|p|pre|section|table|td|th|tr|ul"
)
_SILENT = frozenset({"script", "style", "template", "noscript", "svg", "head"})


class _Words(HTMLParser):
    """Gather the text a reader of the page sees, a line for each block."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent.append(tag)
        elif _BLOCKS.fullmatch(tag):
            self.pieces.append("\n")
        if tag == "body":
            # A head that was never closed ends here.
            self._silent.clear()

    def handle_endtag(self, tag: str) -> None:
        if tag in self._silent:
            del self._silent[self._silent.index(tag) :]
        elif _BLOCKS.fullmatch(tag):
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.pieces.append(data)


def _html(data: bytes) -> tuple[str, tuple[int, ...]]:
    words = _Words()
    words.feed(decode(data))
    words.close()
    lines = (" ".join(line.split()) for line in "".join(words.pieces).split("\n"))
    return "\n".join(line for line in lines if line), ()


_READERS: dict[Kind, Callable[[bytes], tuple[str, tuple[int, ...]]]] = {
    Kind.PDF: _pdf,
    Kind.DOCX: _docx,
    Kind.HTML: _html,
}
