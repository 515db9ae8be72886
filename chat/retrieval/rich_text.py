"""The text of RTF files. Needs the `documents` extra."""

from __future__ import annotations

import re

from chat.retrieval.bounds import Paged
from chat.retrieval.errors import Unreadable
from chat.retrieval.text import clean

# Characters of a line, of the table of fonts, and of an entry in it.
MAX_LINE, MAX_FONTS, MAX_FONT = 2000, 65_536, 500
# Braces, control words, quotes, and after white space; the bytes of one character (\'8a\'c1) and
# the letters of a control word stay together.
_BREAKS = re.compile(r"""\{(?:\\field\b)?|}|"|\\[a-zA-Z*]|(?<=\s)""")


def rich_text(data: bytes) -> Paged:
    """Return the text of an RTF file; raises Unreadable."""
    from striprtf.striprtf import font_table_group, rtf_to_text

    damaged = Unreadable("This RTF file is damaged and cannot be read.")
    if not data.rstrip(b"\0 \t\r\n").endswith(b"}"):
        raise damaged
    try:
        # Other characters than these are escaped.
        source = _in_short_lines(data.decode("latin-1"))
        if not _is_plausible(font_table_group(source)):  # type: ignore[no-untyped-call]
            # Both are left out of the text; only the first is searched for encodings of fonts.
            source = source.replace("\\fonttbl", "\\colortbl")
        text = rtf_to_text(source, errors="replace")  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, LookupError, OverflowError):
        raise damaged from None
    # Rarer characters are written as two halves.
    return clean(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")).strip(), ()


def _in_short_lines(source: str) -> str:
    """Break long lines where a line end means nothing, fields first.

    The reader's expressions for fields take quadratic time, but never beyond a line.
    """
    pieces: list[str] = []
    begin = length = 0
    for place in _BREAKS.finditer(source):
        at = place.start()
        length = at - begin
        if length > MAX_LINE or (length and place.group().startswith("{\\field")):
            pieces.append(source[begin:at])
            begin = at
    pieces.append(source[begin:])
    return "\n".join(pieces)


def _is_plausible(fonts: str) -> bool:
    """Tell whether a table of fonts is short, and so are its entries, which end in ";"."""
    return len(fonts) <= MAX_FONTS and all(len(entry) <= MAX_FONT for entry in fonts.split(";"))
