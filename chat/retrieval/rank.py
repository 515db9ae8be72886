"""Join rankings that know nothing of each other's scores: reciprocal rank fusion."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

K = 60  # of the method's paper: Cormack, Clarke, Büttcher, SIGIR 2009
T = TypeVar("T", bound=Hashable)


def fuse_rankings(rankings: Sequence[Sequence[T]]) -> list[tuple[T, float]]:
    """Return everything ranked, best first, with scores from 0 to 1.

    1 is the first place in every ranking that found anything. A thing's score
    depends on the rankings it is given and on nothing else.
    """
    found = [ranking for ranking in rankings if ranking]
    scores: dict[T, float] = {}
    for ranking in found:
        for place, thing in enumerate(ranking):
            scores[thing] = scores.get(thing, 0.0) + 1 / (K + 1 + place)
    best = len(found) / (K + 1)
    ordered = sorted(scores.items(), key=lambda item: -item[1])
    return [(thing, score / best) for thing, score in ordered]
