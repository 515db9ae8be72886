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
