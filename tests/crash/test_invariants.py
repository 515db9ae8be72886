"""The comparison of what is metered with what the model server sent notices what is missing."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.crash.invariants import Metered, compare_metering
from tests.crash.model import Served

WHOLE = Served(question="q", input_tokens=9, sent_tokens=40, whole=True)
CUT = Served(question="q", input_tokens=9, sent_tokens=12, whole=False)
USED = Counter({(9, 40): 1})


@pytest.mark.parametrize(
    ("metered", "served"),
    [
        (Metered(used=USED), [WHOLE]),
        (Metered(cut=[(8, 10)]), [CUT]),
        (Metered(used=USED, cut=[(8, 10)], taken_over=True), [CUT, WHOLE]),
        (Metered(used=USED, cut=[(8, 0)], taken_over=True), [WHOLE]),
    ],
    ids=["whole", "cut", "taken over", "died before the request"],
)
def test_nothing_is_found_where_all_is_metered(metered: Metered, served: list[Served]) -> None:
    assert list(compare_metering(metered, served)) == []


@pytest.mark.parametrize(
    ("metered", "served"),
    [
        (Metered(), [CUT]),
        (Metered(used=USED, taken_over=True), [CUT, WHOLE]),
        (Metered(used=Counter({(9, 41): 1})), [WHOLE]),
        (Metered(used=USED, cut=[(8, 40)], taken_over=True), [WHOLE]),
        (Metered(cut=[(0, 10)]), [CUT]),
    ],
    ids=["two zeros", "lost", "other numbers", "metered twice", "no prompt"],
)
def test_what_is_metered_wrongly_is_found(metered: Metered, served: list[Served]) -> None:
    assert list(compare_metering(metered, served))
