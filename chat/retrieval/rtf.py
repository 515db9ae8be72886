"""Text extraction from RTF files. Needs the `documents` extra."""

from __future__ import annotations

import re

from chat.retrieval.errors import Unreadable
from chat.retrieval.limits import Paged
from chat.retrieval.text import clean

# Maximum characters of a line, of the font table, and of a font table entry.
MAX_LINE, MAX_FONTS, MAX_FONT = 2000, 65_536, 500
# Places for a line break: braces, control words, quotes, and after white space. The bytes of one
# character (\'8a\'c1) and the letters of a control word stay together.
_BREAKS = re.compile(r"""\{(?:\\field\b)?|}|"|\\[a-zA-Z*]|(?<=\s)""")


def extract_rtf(data: bytes) -> Paged:
    """Return the text of an RTF file.

    Raises:
        Unreadable: the file is damaged.
    """
    from striprtf.striprtf import font_table_group, rtf_to_text

    damaged = Unreadable("This RTF file is damaged and cannot be read.")
    if not data.rstrip(b"\0 \t\r\n").endswith(b"}"):
        raise damaged
    try:
        # RTF escapes all characters outside of Latin-1.
        source = _split_long_lines(data.decode("latin-1"))
        if not _is_plausible(font_table_group(source)):  # type: ignore[no-untyped-call]
            # Both tables are omitted from the text, but only \fonttbl is parsed for encodings.
            source = source.replace("\\fonttbl", "\\colortbl")
        text = rtf_to_text(source, errors="replace")  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, LookupError, OverflowError):
        raise damaged from None
    # RTF writes characters outside of the BMP as surrogate pairs.
    return clean(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")).strip(), ()


def _split_long_lines(source: str) -> str:
    """Insert line breaks where RTF ignores them, so that no line is long.

    striprtf's regular expressions for fields take quadratic time, but never match across lines.
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
    """Return True if a font table and its entries (which end in ";") are short."""
    return len(fonts) <= MAX_FONTS and all(len(entry) <= MAX_FONT for entry in fonts.split(";"))
