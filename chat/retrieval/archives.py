"""Parts of a stranger's ZIP archive: no more is unpacked than may be, and no XML expands."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from xml.etree import ElementTree as ET  # nosec B405

from chat.retrieval.bounds import MAX_UNZIPPED, TOO_LONG
from chat.retrieval.errors import Unreadable

# Where OpenDocument files tell which of their parts are locked.
MAX_NAMESPACE = 1000
_MANIFEST = "META-INF/manifest.xml"
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, ET.ParseError),
    *(LookupError, ValueError, EOFError, OSError),
)


class Archive:
    """An open archive; `what` names its kind in sentences."""

    def __init__(self, archive: zipfile.ZipFile, what: str) -> None:
        self._archive = archive
        self._left = MAX_UNZIPPED
        self.what = what

    def __contains__(self, name: str) -> bool:
        return name in self._archive.NameToInfo

    def read(self, name: str) -> bytes:
        """Return a part; raises KeyError for one that is not there."""
        with self._archive.open(name) as part:
            # The declared size may lie: no more than what is left is read.
            data = part.read(self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise Unreadable(TOO_LONG)
        return data

    def elements(self, name: str) -> list[tuple[str, dict[str, str]]]:
        """Return the elements of an XML part in their order: names without namespace, attributes.

        Attributes keep their namespaces.
        """
        gathered = _Elements(self.what)
        _parse(self.read(name), gathered)
        return gathered.found

    def pages(self, name: str, markup: Markup) -> list[str]:
        """Return the text of an XML part by pages, a line for each paragraph."""
        text = _Text(self.what, markup)
        _parse(self.read(name), text)
        return ["\n".join(lines) for lines in text.pages]


@contextmanager
def open_archive(data: bytes, what: str) -> Iterator[Archive]:
    """Open an archive; whatever is wrong with it, also within the block, is an Unreadable."""
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
    """Return what is said of a file that only a password opens."""
    return Unreadable(f"This {what} is locked with a password: upload it without.")


@dataclass(frozen=True, kw_only=True)
class Markup:
    """Which elements, by their names without namespace, are what in a kind of XML.

    `words` hold text that counts, `lines` are paragraphs, `signs` stand for text,
    `silent` ones are left out with all they hold. `page` begins a page; where it
    is given, nothing outside pages counts. `collapses`: white space is one space.
    """

    words: frozenset[str]
    lines: frozenset[str]
    signs: dict[str, str] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()
    page: str = ""
    collapses: bool = False


def _parse(xml: bytes, target: _Elements | _Text) -> None:
    parser = ET.XMLParser(target=target)  # nosec B314 - a document type ends it before it expands
    parser.feed(xml)
    parser.close()


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


class _Target:
    """What the parser tells; a document type is where entities come from."""

    def __init__(self, what: str) -> None:
        self._what = what

    def doctype(self, _name: str, _public: str | None, _system: str | None) -> None:
        raise Unreadable(f"This {self._what} declares entities, which none needs.")

    def start_ns(self, _prefix: str, uri: str) -> None:
        """Refuse long namespaces: the parser repeats them at each element."""
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
        self.found.append((_local(tag), attributes))


_SPACES = re.compile(r"[ \t\n]+")


class _Text(_Target):
    """Gather lines without a tree: its depth and size are the maker's choice."""

    def __init__(self, what: str, markup: Markup) -> None:
        super().__init__(what)
        self.pages: list[list[str]] = [] if markup.page else [[]]
        self._markup = markup
        self._line: list[str] = []
        self._within = self._silent = 0

    def start(self, tag: str, _attributes: dict[str, str]) -> None:
        name, markup = _local(tag), self._markup
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
            # A text comes in pieces, cut at the ends of its lines.
            if self._line and self._line[-1].endswith(" "):
                text = text.removeprefix(" ")
        self._line.append(text)

    def end(self, tag: str) -> None:
        name = _local(tag)
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
