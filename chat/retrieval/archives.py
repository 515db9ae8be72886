"""Safe reading of untrusted ZIP archives: bounded decompression, no XML entities."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from xml.etree import ElementTree as ET  # nosec B405

from chat.retrieval.errors import Unreadable
from chat.retrieval.limits import MAX_UNZIPPED, TOO_LONG

MAX_NAMESPACE = 1000
# The part in which OpenDocument files declare which parts are encrypted.
_MANIFEST = "META-INF/manifest.xml"
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, ET.ParseError),
    *(LookupError, ValueError, EOFError, OSError),
)


class Archive:
    """An open archive. `what` is the kind of file used in error messages, e.g. "book"."""

    def __init__(self, archive: zipfile.ZipFile, what: str) -> None:
        self._archive = archive
        self._left = MAX_UNZIPPED
        self.what = what

    def __contains__(self, name: str) -> bool:
        return name in self._archive.NameToInfo

    def read(self, name: str) -> bytes:
        """Return the contents of a part.

        Raises:
            KeyError: the archive has no such part.
            Unreadable: the parts read so far exceed `MAX_UNZIPPED` bytes.
        """
        with self._archive.open(name) as part:
            # The declared size cannot be trusted, so the read is bounded by the remaining budget.
            data = part.read(self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise Unreadable(TOO_LONG)
        return data

    def list_elements(self, name: str) -> list[tuple[str, dict[str, str]]]:
        """Return the elements of an XML part in document order, as (tag, attributes).

        Tags come without their namespace; attribute names keep theirs.
        """
        collector = _Elements(self.what)
        _parse(self.read(name), collector)
        return collector.found

    def pages(self, name: str, markup: Markup) -> list[str]:
        """Return the text of an XML part as a list of pages, with one line per paragraph."""
        text = _Text(self.what, markup)
        _parse(self.read(name), text)
        return ["\n".join(lines) for lines in text.pages]


@contextmanager
def open_archive(data: bytes, what: str) -> Iterator[Archive]:
    """Open an archive.

    Errors of the ZIP and XML libraries, including those inside the block, are raised as
    Unreadable.

    Raises:
        Unreadable: the archive is damaged, encrypted, or too large when unpacked.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_UNZIPPED:
                raise Unreadable(TOO_LONG)
            found = Archive(archive, what)
            if _MANIFEST in found and b"encryption-data" in found.read(_MANIFEST):
                raise build_password_error(what)
            yield found
    except _DAMAGE:
        raise Unreadable(f"This {what} is damaged and cannot be read.") from None
    except (RuntimeError, NotImplementedError):
        raise build_password_error(what) from None


def build_password_error(what: str) -> Unreadable:
    """Return the error for a password-protected file."""
    return Unreadable(
        f"This {what} is password-protected. Remove the password and upload it again."
    )


@dataclass(frozen=True, kw_only=True)
class Markup:
    """The roles of the elements of an XML format, by tag without namespace.

    `words` contain text, `lines` are paragraphs, `signs` are replaced with the given text, and
    `silent` elements are skipped with their content. `page` starts a page; if it is set, text
    outside of pages is ignored. With `collapses`, runs of white space become one space.
    """

    words: frozenset[str]
    lines: frozenset[str]
    signs: dict[str, str] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()
    page: str = ""
    collapses: bool = False


def _parse(xml: bytes, target: _Elements | _Text) -> None:
    parser = ET.XMLParser(target=target)  # nosec B314 - doctype() raises before entities expand
    parser.feed(xml)
    parser.close()


def _strip_namespace(tag: str) -> str:
    return tag.rpartition("}")[2]


class _Target:
    """A parser target that rejects document types, because they can declare entities."""

    def __init__(self, what: str) -> None:
        self._what = what

    def doctype(self, _name: str, _public: str | None, _system: str | None) -> None:
        raise Unreadable(f"This {self._what} contains XML entities, which are not allowed.")

    def start_ns(self, _prefix: str, uri: str) -> None:
        """Reject long namespaces, because the parser repeats them in every tag."""
        if len(uri) > MAX_NAMESPACE:
            raise Unreadable(f"This {self._what} is damaged and cannot be read.")

    def data(self, text: str) -> None:
        pass

    def end(self, tag: str) -> None:
        pass

    def close(self) -> None:
        pass


class _Elements(_Target):
    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.found: list[tuple[str, dict[str, str]]] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.found.append((_strip_namespace(tag), attributes))


_SPACES = re.compile(r"[ \t\n]+")


class _Text(_Target):
    """A target that collects text without building a tree of attacker-chosen depth and size."""

    def __init__(self, what: str, markup: Markup) -> None:
        super().__init__(what)
        self.pages: list[list[str]] = [] if markup.page else [[]]
        self._markup = markup
        self._line: list[str] = []
        self._within = self._silent = 0

    def start(self, tag: str, _attributes: dict[str, str]) -> None:
        name, markup = _strip_namespace(tag), self._markup
        if self._silent or name in markup.silent:
            self._silent += 1
            return
        if name == markup.page:
            self.pages.append([])
        if name in markup.lines and self._line:
            self._end_line()
        if name in markup.words:
            self._within += 1
        if name in markup.signs:
            self._line.append(markup.signs[name])

    def data(self, text: str) -> None:
        if not self._within or self._silent:
            return
        if self._markup.collapses:
            text = _SPACES.sub(" ", text)
            # The parser delivers text in pieces, split at line ends.
            if self._line and self._line[-1].endswith(" "):
                text = text.removeprefix(" ")
        self._line.append(text)

    def end(self, tag: str) -> None:
        name = _strip_namespace(tag)
        if self._silent:
            self._silent -= 1
            return
        if name in self._markup.words:
            self._within -= 1
        if name in self._markup.lines:
            self._end_line()

    def _end_line(self) -> None:
        if self.pages:
            self.pages[-1].append("".join(self._line))
        self._line = []
