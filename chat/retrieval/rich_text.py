"""The text of RTF files. Needs the `documents` extra."""

from __future__ import annotations

from chat.retrieval.bounds import Paged
from chat.retrieval.errors import Unreadable
from chat.retrieval.text import clean


def rich_text(data: bytes) -> Paged:
    """Return the text of an RTF file; raises Unreadable."""
    from striprtf.striprtf import rtf_to_text

    damaged = Unreadable("This RTF file is damaged and cannot be read.")
    if not data.rstrip(b"\0 \t\r\n").endswith(b"}"):
        raise damaged
    try:
        # Other characters than these are escaped.
        text = rtf_to_text(data.decode("latin-1"), errors="replace")  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, LookupError, OverflowError):
        raise damaged from None
    # Rarer characters are written as two halves.
    return clean(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")).strip(), ()
