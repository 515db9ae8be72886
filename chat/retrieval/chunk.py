"""Cut a text into overlapping chunks that end where a reader would pause."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# The Assistants API's own: "auto" is static with these.
AUTO_TOKENS, AUTO_OVERLAP = 800, 400
BYTES_PER_TOKEN = 4
# Where to end a chunk, best first: within the last third of what it may hold.
_PAUSES = (re.compile(r"\n\s*\n"), re.compile(r"\n"), re.compile(r"[.!?]\s"), re.compile(r"\s"))


@dataclass(frozen=True, slots=True)
class Span:
    """`text` is the source's from `start` to `end` (code points), exactly."""

    start: int
    end: int
    text: str


def chunks(
    text: str, *, max_tokens: int = AUTO_TOKENS, overlap_tokens: int = AUTO_OVERLAP
) -> Iterator[Span]:
    """Yield chunks of at most about `max_tokens`, each beginning `overlap_tokens` before the last.

    Tokens are estimated by the bytes of UTF-8, so a chunk of Chinese holds
    fewer characters than one of English.

    Raises:
        ValueError: for an overlap of more than half a chunk.
    """
    if overlap_tokens > max_tokens / 2:
        raise ValueError("The overlap is at most half of a chunk.")
    most, overlap = max_tokens * BYTES_PER_TOKEN, overlap_tokens * BYTES_PER_TOKEN
    start = _skip_space(text, 0)
    while start < len(text):
        limit = _forward(text, start, most)
        end = limit if limit >= len(text) else _pause(text, start, limit)
        trimmed = start + len(text[start:end].rstrip())
        if trimmed > start:
            yield Span(start, trimmed, text[start:trimmed])
        if end >= len(text):
            return
        again = _word_begin(text, _backward(text, end, overlap), end)
        start = _skip_space(text, again if again > start else end)


def _forward(text: str, start: int, most: int) -> int:
    """Return the end of the longest piece from `start` of at most `most` bytes."""
    piece = text[start : start + most].encode("utf-8", "surrogatepass")[:most]
    return start + max(1, len(piece.decode("utf-8", "ignore")))


def _backward(text: str, end: int, most: int) -> int:
    """Return the beginning of the longest piece before `end` of at most `most` bytes."""
    if most == 0:
        return end
    piece = text[max(0, end - most) : end].encode("utf-8", "surrogatepass")[-most:]
    return end - len(piece.decode("utf-8", "ignore"))


def _pause(text: str, start: int, limit: int) -> int:
    earliest = start + (limit - start) * 2 // 3
    for pause in _PAUSES:
        ends = [match.end() for match in pause.finditer(text, earliest, limit)]
        if ends:
            return ends[-1]
    return limit


def _word_begin(text: str, at: int, end: int) -> int:
    """Move `at` to the beginning of the next word, so that no chunk begins within one."""
    if at == 0 or text[at - 1].isspace():
        return at
    space = re.compile(r"\s").search(text, at, end)
    return space.end() if space else at


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at
