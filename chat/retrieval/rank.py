"""Reciprocal rank fusion: merging of rankings whose scores are not comparable."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

K = 60  # from the paper: Cormack, Clarke, Büttcher, SIGIR 2009
T = TypeVar("T", bound=Hashable)


def fuse_rankings(rankings: Sequence[Sequence[T]]) -> list[tuple[T, float]]:
    """Return all ranked items, best first, with scores from 0 to 1.

    A score of 1 means first place in every non-empty ranking. Scores depend only on the given
    rankings.
    """
    found = [ranking for ranking in rankings if ranking]
    scores: dict[T, float] = {}
    for ranking in found:
        for place, thing in enumerate(ranking):
            scores[thing] = scores.get(thing, 0.0) + 1 / (K + 1 + place)
    best = len(found) / (K + 1)
    ordered = sorted(scores.items(), key=lambda item: -item[1])
    return [(thing, score / best) for thing, score in ordered]
