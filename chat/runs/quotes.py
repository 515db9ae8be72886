"""Which words of a passage a statement rests on."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST_PIECE = 400
# A neighbour joins the quote when it adds at least this part of what the best piece has.
JOINS = 0.5
CLAIM_CHARACTERS = 400
_PAUSE = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])|\n+")
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")
_MARK = re.compile(r"【[^【】]*】")


@dataclass(frozen=True)
class Quote:
    """A piece of a passage, verbatim: `text` is the passage's from `start` to `end`."""

    start: int
    end: int
    text: str


def quote_for(passage: str, said: str) -> Quote:
    """Return the sentence or sentences of `passage` nearest to the end of what was `said`."""
    pieces = list(_pieces(passage))
    claim = _words(_claim(said))
    scores = [_score(passage[start:end], claim) for start, end in pieces]
    best = max(range(len(pieces)), key=lambda index: scores[index])
    first = last = best
    have = _words(passage[slice(*pieces[best])])
    if best + 1 < len(pieces) and _adds(passage, pieces[best + 1], claim - have, scores[best]):
        last = best + 1
    elif best and _adds(passage, pieces[best - 1], claim - have, scores[best]):
        first = best - 1
    start, end = pieces[first][0], pieces[last][1]
    return Quote(start, end, passage[start:end])


def _adds(passage: str, piece: tuple[int, int], missing: set[str], best: float) -> bool:
    return bool(missing) and _score(passage[slice(*piece)], missing) >= max(JOINS * best, 1.0)


def _claim(said: str) -> str:
    """Return the last statement: what follows the last mark, or where there is nothing, before."""
    said = said[-CLAIM_CHARACTERS * 2 :]
    parts = [part for part in _MARK.split(said) if any(map(str.isalnum, part))]
    tail = (parts[-1] if parts else said).rstrip()
    begins = [match.end() for match in _PAUSE.finditer(tail[:-1])]
    return tail[begins[-1] :] if begins else tail[-CLAIM_CHARACTERS:]


def _score(piece: str, claim: set[str]) -> float:
    """Count the words in common: longer ones say more, and so do numbers."""
    common = _words(piece) & claim
    return sum(2.0 if word[0].isdigit() else min(len(word), 8) / 4 for word in common)


def _words(text: str) -> set[str]:
    """Return the words by their first letters, so that most endings make no difference."""
    found = [word.lower() for word in _WORD.findall(text)]
    numbers = {word for word in found if word[0].isdigit()}
    return numbers | {word[:6] for word in found if len(word) > 2}


def _pieces(passage: str) -> list[tuple[int, int]]:
    """Return where the sentences and lines of a passage begin and end, without space around."""
    pieces: list[tuple[int, int]] = []
    begin = 0
    for match in [*_PAUSE.finditer(passage), None]:
        end = match.start() if match else len(passage)
        while end - begin > LONGEST_PIECE:
            space = passage.rfind(" ", begin + LONGEST_PIECE // 2, begin + LONGEST_PIECE)
            cut = space if space > 0 else begin + LONGEST_PIECE
            _add(pieces, passage, begin, cut)
            begin = cut
        _add(pieces, passage, begin, end)
        begin = match.end() if match else end
    return pieces or [(0, len(passage))]


def _add(pieces: list[tuple[int, int]], passage: str, begin: int, end: int) -> None:
    text = passage[begin:end]
    if text.strip():
        start = begin + len(text) - len(text.lstrip())
        pieces.append((start, begin + len(text.rstrip())))
