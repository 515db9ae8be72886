"""A table is put, totalled by month and drawn; the next question uses the same variables."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from chat.sandbox.base import RunEnd
from tests.sandbox.opened import Backend, opened

SALES = b"""date,amount
2024-12-30,10.50
2025-01-02,20.00
2025-01-30,1.25
2025-02-11,7.00
"""
MONTHS = {"2024-12": 10.5, "2025-01": 21.25, "2025-02": 7.0}


@dataclass(frozen=True, kw_only=True)
class Answers:
    """How a model writes it for a backend, and the type of its pictures."""

    totals: str
    only: str
    picture: str


ANSWERS = {
    "monty": Answers(
        totals="""
import csv
with open("sales.csv") as file:
    rows = list(csv.DictReader(file))
totals = {}
for row in rows:
    month = row["date"][:7]
    totals[month] = totals.get(month, 0) + float(row["amount"])
chart("bar", totals, title="Sales by month")
print("drawn")
totals
""",
        only="""
recent = {month: total for month, total in totals.items() if month.startswith("2025")}
chart("bar", recent, title="Sales of 2025")
with open("sales-2025.csv", "w") as file:
    for month, total in recent.items():
        file.write(f"{month},{total}\\n")
sum(recent.values())
""",
        picture="image/svg+xml",
    ),
    "bubblewrap": Answers(
        totals="""
import pandas as pd
import matplotlib.pyplot as plt
frame = pd.read_csv("sales.csv", parse_dates=["date"])
totals = frame.groupby(frame["date"].dt.strftime("%Y-%m"))["amount"].sum()
totals.plot.bar(title="Sales by month")
plt.show()
print("drawn")
totals.to_dict()
""",
        only="""
recent = totals[totals.index.str.startswith("2025")]
recent.plot.bar(title="Sales of 2025")
recent.to_csv("sales-2025.csv", header=False)
float(recent.sum())
""",
        picture="image/png",
    ),
}


@pytest.mark.slow
async def test_totals_by_month_and_questions_after_also_in_another_process(
    backend: Backend,
) -> None:
    model = ANSWERS[backend.name]
    async with opened(backend) as session:
        await session.put_file("sales.csv", SALES)
        first = await session.run(model.totals)
        assert (first.ended, first.logs, first.error) == (RunEnd.FINISHED, "drawn\n", None)
        assert first.value == str(MONTHS)
        assert [image.type for image in first.images] == [model.picture]
        second = await session.run(model.only)
        assert (second.value, second.error) == ("28.25", None)
        assert len(second.images) == 1
        assert second.images != first.images
        assert [file.data for file in second.files] == [b"2025-01,21.25\n2025-02,7.0\n"]
        saved = await session.save()
    assert saved is not None and saved.lost == ()
    async with opened(backend, goes_on=saved.data) as session:
        assert (await session.run(model.only)).value == "28.25"
