"""Text that PostgreSQL can store: no NUL, and no lone surrogates, which UTF-8 cannot encode."""

from __future__ import annotations

import re

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Return True if PostgreSQL can store the text, as text and within JSON."""
    return _UNSTORABLE.search(text) is None


def make_storable(text: str, *, most: int | None = None) -> str:
    """Return the first `most` characters with unstorable ones replaced by U+FFFD.

    The halves of a surrogate pair are joined to the character they encode.
    """
    text = text[:most]
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


class TextCleaner:
    """Makes deltas storable: joins surrogate halves, replaces NUL and lone halves."""

    def __init__(self) -> None:
        self._half = ""

    def clean(self, text: str) -> str:
        """Return the text with unstorable characters replaced, holding back a trailing half."""
        if self._half:
            text = self._half + text
            self._half = ""
        elif text.isascii() and "\x00" not in text:
            return text
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._half = text[-1]
            text = text[:-1]
        return make_storable(text)
