"""Splitting of text into overlapping chunks that end at paragraph, line or sentence ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Defaults of the Assistants API: its "auto" strategy is "static" with these values.
AUTO_TOKENS, AUTO_OVERLAP = 800, 400
BYTES_PER_TOKEN = 4
# Boundaries to end a chunk at, in order of preference, searched in its last third.
_PAUSES = (re.compile(r"\n\s*\n"), re.compile(r"\n"), re.compile(r"[.!?]\s"), re.compile(r"\s"))


@dataclass(frozen=True, slots=True)
class Span:
    """A slice of the source: `text` equals `source[start:end]`, in code points."""

    start: int
    end: int
    text: str


def chunks(
    text: str, *, max_tokens: int = AUTO_TOKENS, overlap_tokens: int = AUTO_OVERLAP
) -> Iterator[Span]:
    """Yield chunks of about `max_tokens` that overlap by `overlap_tokens`.

    Tokens are estimated from UTF-8 bytes, so a chunk of Chinese has fewer characters than a
    chunk of English.

    Raises:
        ValueError: `overlap_tokens` is more than half of `max_tokens`.
    """
    if overlap_tokens > max_tokens / 2:
        raise ValueError("The overlap must not exceed half of the chunk size.")
    most, overlap = max_tokens * BYTES_PER_TOKEN, overlap_tokens * BYTES_PER_TOKEN
    start = _skip_space(text, 0)
    while start < len(text):
        limit = _find_end(text, start, most)
        end = limit if limit >= len(text) else _find_pause(text, start, limit)
        trimmed = start + len(text[start:end].rstrip())
        if trimmed > start:
            yield Span(start, trimmed, text[start:trimmed])
        if end >= len(text):
            return
        again = _find_word_start(text, _find_start(text, end, overlap), end)
        start = _skip_space(text, again if again > start else end)


def _find_end(text: str, start: int, most: int) -> int:
    """Return the end of the longest slice that starts at `start` and has at most `most` bytes."""
    piece = text[start : start + most].encode("utf-8", "surrogatepass")[:most]
    return start + max(1, len(piece.decode("utf-8", "ignore")))


def _find_start(text: str, end: int, most: int) -> int:
    """Return the start of the longest slice that ends at `end` and has at most `most` bytes."""
    if most == 0:
        return end
    piece = text[max(0, end - most) : end].encode("utf-8", "surrogatepass")[-most:]
    return end - len(piece.decode("utf-8", "ignore"))


def _find_pause(text: str, start: int, limit: int) -> int:
    earliest = start + (limit - start) * 2 // 3
    for pause in _PAUSES:
        ends = [match.end() for match in pause.finditer(text, earliest, limit)]
        if ends:
            return ends[-1]
    return limit


def _find_word_start(text: str, at: int, end: int) -> int:
    """Return the start of the next word at or after `at`, so that no chunk splits a word."""
    if at == 0 or text[at - 1].isspace():
        return at
    space = re.compile(r"\s").search(text, at, end)
    return space.end() if space else at


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at
