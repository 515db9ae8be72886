"""Limits on the text of one file, and joining pages within them."""

from __future__ import annotations

from collections.abc import Iterable

from chat.retrieval.errors import Unreadable

MAX_CHARACTERS = 20_000_000
MAX_PAGES = 10_000
MAX_UNZIPPED = 200_000_000
TOO_LONG = "The file has too much text to index. Split it into smaller files."

# A file's text, and the offset (in code points) of the start of each page.
Paged = tuple[str, tuple[int, ...]]


def join_pages(pages: Iterable[str]) -> Paged:
    """Join pages with an empty line between them, and return the offset of each.

    Raises:
        Unreadable: there are more than `MAX_PAGES` pages or `MAX_CHARACTERS` characters.
    """
    texts, starts, at = [], [], 0
    for text in pages:
        starts.append(at)
        texts.append(text)
        at += len(text) + 2
        if at > MAX_CHARACTERS or len(texts) > MAX_PAGES:
            raise Unreadable(TOO_LONG)
    return "\n\n".join(texts), tuple(starts)
