"""Arguments of the host function `chart`, validated inside the sandbox and again outside.

Only texts and finite numbers leave the sandbox; the image is rendered outside (drawing.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KINDS = ("bar", "line", "pie", "scatter")
MAX_POINTS, MAX_SERIES, MAX_LABEL_LENGTH = 500, 8, 80
MAX_NUMBER = 1e15

USAGE = (
    "chart(kind, rows, x=None, y=None, title=''): kind is bar, line, pie or scatter; rows is a "
    "list of dicts, a list of (label, number) pairs or a dict of label to number; x names the "
    "column of labels (default: the first), y the column or columns of numbers (default: all "
    f"others that hold numbers). At most {MAX_POINTS} rows and {MAX_SERIES} columns."
)


@dataclass(frozen=True)
class Series:
    """One column of numbers; None is a gap."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A valid chart. The constructor raises ValueError if the chart cannot be drawn."""

    kind: str
    title: str
    labels: tuple[str, ...]
    series: tuple[Series, ...]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"A chart's kind must be one of {', '.join(KINDS)}.")
        if not 1 <= len(self.labels) <= MAX_POINTS or not 1 <= len(self.series) <= MAX_SERIES:
            raise ValueError(USAGE)
        texts = [self.title, *self.labels, *(line.name for line in self.series)]
        if any(not isinstance(text, str) or len(text) > MAX_LABEL_LENGTH for text in texts):
            raise ValueError(f"A chart's texts can have at most {MAX_LABEL_LENGTH} characters.")
        for line in self.series:
            if len(line.values) != len(self.labels):
                raise ValueError("A chart must have a number for every label.")
            if all(value is None for value in line.values):
                raise ValueError(f"There are no numbers in {line.name!r}.")
        if self.kind == "pie" and not _is_valid_pie(self.series):
            raise ValueError(
                "A pie chart needs one column of numbers: none negative, at least one positive."
            )

    def wire(self) -> dict[str, Any]:
        """Return the chart as a JSON object."""
        return {
            "kind": self.kind,
            "title": self.title,
            "labels": self.labels,
            "series": [[line.name, line.values] for line in self.series],
        }


def read_chart(head: Mapping[str, Any]) -> Chart:
    """Parse the output of `Chart.wire`. Raises ValueError, TypeError or KeyError if invalid."""
    series = tuple(
        Series(name, tuple(parse_number(value) for value in values))
        for name, values in head["series"]
    )
    labels = tuple(head["labels"])
    return Chart(kind=str(head["kind"]), title=head["title"], labels=labels, series=series)


def parse_chart(
    kind: str, rows: Any, x: str | None = None, y: Any = None, title: str = ""
) -> Chart:
    """Build a chart from the arguments of a `chart` call (see USAGE).

    Raises:
        ValueError: the rows, columns or texts are invalid.
        TypeError: a value is not a number.
    """
    table = _parse_table(rows)
    if not table or not table[0]:
        raise ValueError(USAGE)
    columns = list(table[0])
    x = columns[0] if x is None else x
    chosen = [y] if isinstance(y, str) else list(y or _list_numeric_columns(table, columns, x))
    unknown = [name for name in (x, *chosen) if name not in columns]
    if unknown:
        raise ValueError(f"There is no column {unknown[0]!r}; there are {columns}.")
    return Chart(
        kind=kind,
        title=_truncate_label(title),
        labels=tuple(_truncate_label(row.get(x)) for row in table),
        series=tuple(
            Series(_truncate_label(name), tuple(parse_number(row.get(name)) for row in table))
            for name in chosen
        ),
    )


def parse_number(value: Any) -> float | None:
    """Convert a value to a finite number, or None for a gap.

    Raises:
        TypeError: the value is not a number.
        ValueError: the absolute value exceeds `MAX_NUMBER`.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise TypeError(f"A chart's numbers must be int or float, not {type(value).__name__}.")
    found = float(value)
    if math.isnan(found):
        return None
    if not abs(found) <= MAX_NUMBER:
        raise ValueError("A chart's numbers must be between -1e15 and 1e15.")
    return found


def _parse_table(rows: Any) -> list[dict[Any, Any]]:
    if isinstance(rows, Mapping):
        rows = list(rows.items())
    if not isinstance(rows, Sequence) or isinstance(rows, str) or len(rows) > MAX_POINTS:
        raise ValueError(USAGE)
    if all(isinstance(row, Mapping) for row in rows):
        return [dict(row) for row in rows]
    if all(isinstance(row, list | tuple) and len(row) == 2 for row in rows):
        return [{"label": label, "value": value} for label, value in rows]
    raise ValueError(USAGE)


def _list_numeric_columns(table: list[dict[Any, Any]], columns: list[Any], x: Any) -> list[Any]:
    return [
        name
        for name in columns
        if name != x and all(_is_number(row.get(name)) or row.get(name) is None for row in table)
    ][:MAX_SERIES]


def _is_number(value: Any) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, bool)


def _is_valid_pie(series: tuple[Series, ...]) -> bool:
    values = [value or 0 for value in series[0].values]
    return len(series) == 1 and min(values) >= 0 and sum(values) > 0


def _truncate_label(value: Any) -> str:
    return str(value)[:MAX_LABEL_LENGTH]
