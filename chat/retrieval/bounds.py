"""How much is read of one file, and pages joined within that."""

from __future__ import annotations

from collections.abc import Iterable

from chat.retrieval.errors import Unreadable

MAX_CHARACTERS = 20_000_000
MAX_PAGES = 10_000
MAX_UNZIPPED = 200_000_000
TOO_LONG = "The file has more text than can be indexed: split it."

# A file's text, and the offsets (code points) where its pages begin.
Paged = tuple[str, tuple[int, ...]]


def join_pages(pages: Iterable[str]) -> Paged:
    """Join pages by an empty line and return where each begins; raises Unreadable."""
    texts, starts, at = [], [], 0
    for text in pages:
        starts.append(at)
        texts.append(text)
        at += len(text) + 2
        if at > MAX_CHARACTERS or len(texts) > MAX_PAGES:
            raise Unreadable(TOO_LONG)
    return "\n\n".join(texts), tuple(starts)
