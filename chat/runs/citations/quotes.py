"""Choose the quote from a passage that supports a statement."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

MAX_PIECE_LENGTH = 400
# A neighbour joins the quote if it adds this share of the best score, and `MIN_JOIN_SCORE`.
MIN_JOIN_SHARE = 0.5
MIN_JOIN_SCORE = 1.0
# Weight of a heading: the text below it is the better quote.
HEADING_WEIGHT = 0.3
MAX_CLAIM_LENGTH = 400
# A line break before a lowercase letter is inside running text, as in PDFs.
_PAUSE = re.compile(
    r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])|\n\s*\n\s*|\n(?![a-z\u00df-\u00f6\u00f8-\u00ff])"
)
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")
_MARK = re.compile(r"【[^【】]*】")


@dataclass(frozen=True)
class Quote:
    """Verbatim part of a passage: `text` is the passage's text from `start` to `end`."""

    start: int
    end: int
    text: str


def choose_quote(passage: str, said: str) -> Quote:
    """Return the sentence or sentences of `passage` that best match the end of `said`."""
    pieces = list(_find_pieces(passage))
    words = [_get_words(passage[start:end]) for start, end in pieces]
    seen = Counter(word for item in words for word in item)
    claim = _get_words(_get_claim(said))

    def score(index: int, wanted: set[str]) -> float:
        """Score the shared words: rare words, long words and numbers weigh more."""
        weights = (_get_weight(word) / seen[word] for word in words[index] & wanted)
        return sum(weights) * (HEADING_WEIGHT if passage.startswith("#", pieces[index][0]) else 1.0)

    best = max(range(len(pieces)), key=lambda index: score(index, claim))
    first = last = best
    missing = claim - words[best]
    enough = max(MIN_JOIN_SHARE * score(best, claim), MIN_JOIN_SCORE)
    if best + 1 < len(pieces) and score(best + 1, missing) >= enough:
        last = best + 1
    elif best and score(best - 1, missing) >= enough:
        first = best - 1
    start, end = pieces[first][0], pieces[last][1]
    return Quote(start, end, passage[start:end])


def _get_claim(said: str) -> str:
    """Return the last statement: the text after the last mark, or before it if none follows."""
    said = said[-MAX_CLAIM_LENGTH * 2 :]
    parts = [part for part in _MARK.split(said) if any(map(str.isalnum, part))]
    tail = (parts[-1] if parts else said).rstrip()
    begins = [match.end() for match in _PAUSE.finditer(tail[:-1])]
    return tail[begins[-1] :] if begins else tail[-MAX_CLAIM_LENGTH:]


def _get_weight(word: str) -> float:
    return 2.0 if word[0].isdigit() else len(word) / 4


def _get_words(text: str) -> set[str]:
    """Return the words cut to their first letters, so that most endings do not matter."""
    found = [word.lower() for word in _WORD.findall(text)]
    numbers = {word for word in found if word[0].isdigit()}
    return numbers | {word[:6] for word in found if len(word) > 2}


def _find_pieces(passage: str) -> list[tuple[int, int]]:
    """Return the start and end of each sentence or line of a passage, without outer space."""
    pieces: list[tuple[int, int]] = []
    begin = 0
    for match in [*_PAUSE.finditer(passage), None]:
        end = match.start() if match else len(passage)
        while end - begin > MAX_PIECE_LENGTH:
            space = passage.rfind(" ", begin + MAX_PIECE_LENGTH // 2, begin + MAX_PIECE_LENGTH)
            cut = space if space > 0 else begin + MAX_PIECE_LENGTH
            _add_piece(pieces, passage, begin, cut)
            begin = cut
        _add_piece(pieces, passage, begin, end)
        begin = match.end() if match else end
    return pieces or [(0, len(passage))]


def _add_piece(pieces: list[tuple[int, int]], passage: str, begin: int, end: int) -> None:
    text = passage[begin:end]
    if text.strip():
        start = begin + len(text) - len(text.lstrip())
        pieces.append((start, begin + len(text.rstrip())))
