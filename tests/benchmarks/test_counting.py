"""The bench counts what it says it counts."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.benchmarks.report import Figures, Goal
from tests.benchmarks.statements import count
from tests.benchmarks.streams import Arrivals


def logged(*statements: str, connection: int = 7) -> list[str]:
    return [f"2026-01-01 UTC [{connection}] LOG:  statement: {text}" for text in statements]


def test_a_transaction_that_writes_is_one_durable_commit() -> None:
    cost = count(logged("BEGIN", "SELECT 1", "INSERT INTO a", "UPDATE b", "COMMIT"))
    assert (cost.statements, cost.commits) == (3, 1)


@pytest.mark.parametrize("first", ["SELECT 1", "SET LOCAL synchronous_commit = off"])
def test_reading_or_not_waiting_is_no_durable_commit(first: str) -> None:
    writes = () if first == "SELECT 1" else ("UPDATE b",)
    assert count(logged("BEGIN", first, *writes, "COMMIT")).commits == 0


def test_a_statement_counts_beside_the_setting_that_travels_with_it() -> None:
    cost = count(logged("BEGIN", "SELECT set_config('a', 'b', true); UPDATE b", "COMMIT"))
    assert (cost.statements, cost.commits) == (1, 1)


def test_connections_are_told_apart() -> None:
    one, other = logged("BEGIN", "UPDATE a"), logged("BEGIN", "SELECT 1", "COMMIT", connection=8)
    assert count([*one, *other]).commits == 0


def test_what_runs_in_the_background_does_not_count() -> None:
    cost = count(logged("UPDATE chat_process SET seen_at = now()", "SELECT * FROM doors.lapsed()"))
    assert (cost.statements, cost.commits) == (0, 0)


def test_lost_doubled_and_reordered_tokens_are_found() -> None:
    arrivals = Arrivals()
    arrivals.take(b"0@1 2@2 1@3 1@4 ")
    assert arrivals.faults(4) == Counter(lost=1, doubled=1, reordered=1)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(12, "met, stretch too"), (14, "met"), (20, "missed by 5 ms")],
)
def test_a_figure_is_held_to_its_goals(value: float, verdict: str) -> None:
    assert Goal(name="time", unit="ms", must=15, stretch=12).verdict(value) == verdict


def test_the_table_shows_the_middle_of_the_rounds() -> None:
    figures = Figures()
    for value in (4, 1, 2):
        figures.add("start to first answer", value)
    assert "| start to first answer | 2 s | 1-4 | ≤ 3 |  | met |" in figures.table()
