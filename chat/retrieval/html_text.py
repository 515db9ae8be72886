"""Text extraction from HTML in linear time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

from chat.retrieval.text import decode

_BLOCKS = re.compile(
    "address|article|aside|blockquote|br|dd|div|dl|dt|figcaption|figure|footer|form|h[1-6]|"
    "header|hr|li|main|nav|ol|p|pre|section|table|td|th|tr|ul"
)
_SILENT = frozenset({"script", "style", "template", "noscript", "svg", "head"})
# Raw text elements: their content is not markup and ends at their own end tag.
_RAW = frozenset({"script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes"})
_TAG_NAME = re.compile(r"[a-zA-Z][^\s/>\x00]*")
# The rest of a tag; a quoted value may contain ">". The alternatives start with distinct
# characters and the possessive quantifiers never backtrack, so matching takes linear time.
_TAG_REST = re.compile(r"""(?:[^>"'=]++|=\s*+(?:"[^"]*+"|'[^']*+')|["'=])*+>""")
# Numbers beyond any code point. Python parses long decimal numbers in quadratic time or rejects
# them.
_LONG_REFERENCE = re.compile("&#(?:[0-9]{8,}|[xX][0-9a-fA-F]{8,});?")


class _TextCollector:
    """Collector of the visible text, with one line per block element."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        # Each name at most once: an end tag closes its first open element and everything inside.
        self._silent: list[str] = []

    def start(self, tag: str) -> None:
        if tag in _SILENT:
            if tag not in self._silent:
                self._silent.append(tag)
        elif _BLOCKS.fullmatch(tag):
            self.pieces.append("\n")
        if tag == "body":
            # An unclosed <head> ends here.
            self._silent.clear()

    def end(self, tag: str) -> None:
        if tag in self._silent:
            del self._silent[self._silent.index(tag) :]
        elif _BLOCKS.fullmatch(tag):
            self.pieces.append("\n")

    def data(self, text: str) -> None:
        if not self._silent:
            self.pieces.append(text)


class _Scanner:
    """Single-pass scanner of a page.

    `_absent` contains the terminators that do not occur in the rest of the page, so that each
    is searched for in vain only once.
    """

    def __init__(self, page: str, text: _TextCollector) -> None:
        self._page = page
        self._text = text
        self._absent: set[str] = set()
        self._has_quotes = True

    def run(self) -> None:
        page, at = self._page, 0
        while (begin := page.find("<", at)) >= 0:
            self._emit_text(at, begin)
            at = self._consume_markup(begin)
        self._emit_text(at, len(page))

    def _consume_markup(self, at: int) -> int:
        """Consume the markup at `at` and return its end."""
        page = self._page
        if page.startswith("<!--", at):
            if page.startswith((">", "->"), at + 4):
                return page.index(">", at) + 1
            return self._find_after("-->", at + 4)
        if page.startswith("<![CDATA[", at):
            return self._find_after("]]>", at)
        if page.startswith(("<!", "<?"), at):
            return self._find_after(">", at)
        is_end = page.startswith("</", at)
        name = _TAG_NAME.match(page, at + 1 + is_end)
        if name is None:
            if is_end:
                return self._find_after(">", at)
            self._text.data("<")
            return at + 1
        return self._consume_tag(name, is_end=is_end)

    def _consume_tag(self, name: re.Match[str], *, is_end: bool) -> int:
        end = self._find_tag_end(name.end())
        tag = name.group().lower()
        if is_end:
            self._text.end(tag)
            return end
        self._text.start(tag)
        return self._consume_raw_text(tag, end) if tag in _RAW else end

    def _find_tag_end(self, at: int) -> int:
        rest = _TAG_REST.match(self._page, at) if self._has_quotes else None
        if rest is not None:
            return rest.end()
        # A quote is never closed: ignore quotes in the rest of the page.
        self._has_quotes = False
        return self._find_after(">", at)

    def _consume_raw_text(self, tag: str, at: int) -> int:
        """Consume raw text up to the end tag of `tag`, without the end tag."""
        end = self._find_end_tag(tag, at)
        if tag in ("textarea", "title"):
            self._emit_text(at, end)
        elif tag not in _SILENT:
            self._text.data(self._page[at:end])
        return end

    def _find_end_tag(self, tag: str, at: int) -> int:
        if tag in self._absent:
            return len(self._page)
        found = re.compile(rf"</{tag}(?=[\s/>])", re.IGNORECASE).search(self._page, at)
        if found is None:
            self._absent.add(tag)
            return len(self._page)
        return found.start()

    def _find_after(self, end: str, at: int) -> int:
        """Return the position after the next `end`, or the end of the page if there is none."""
        found = -1 if end in self._absent else self._page.find(end, at)
        if found < 0:
            self._absent.add(end)
            return len(self._page)
        return found + len(end)

    def _emit_text(self, begin: int, end: int) -> None:
        if begin < end:
            self._text.data(unescape(_LONG_REFERENCE.sub("\ufffd", self._page[begin:end])))


def extract_html(data: bytes) -> str:
    """Return the visible text of an HTML page, with one line per block element."""
    text = _TextCollector()
    _Scanner(decode(data), text).run()
    return "\n".join(_lines("".join(text.pieces)))


def _lines(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        if words := " ".join(line.split()):
            yield words
