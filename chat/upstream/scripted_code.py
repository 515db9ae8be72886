"""Computations of the demonstration provider: rules from a request about a table to Python.

First it inspects the table, then it writes code for the columns it found. The code states in its
first line what it computes, so that a later request ("now only 2025") can build on it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from chat.upstream.base import FunctionCall, FunctionOutput, Item
from chat.upstream.scripted_words import parse_output

NAME = "code_interpreter"
ANY_CASE = re.IGNORECASE
DRAW = re.compile(r"\b(?:charts?|plots?|graphs?|diagrams?|draw\w*|pictures?)\b", ANY_CASE)
KEEP = re.compile(r"\b(?:downloads?|export|save|as a (?:csv )?file)\b", ANY_CASE)
PERIODS = {"year": 4, "month": 7, "day": 10}
PERIOD = re.compile(r"\b(?:(year|month|day)s?|(year|month|dai)ly)\b", ANY_CASE)
TIME = re.compile(r"\b((?:19|20)\d\d(?:-\d\d){0,2})\b")
DATE = re.compile(r"\d{4}-\d{2}(?:-\d{2}(?:[T ].*)?)?\Z")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?\Z")
SUMMARIES = (
    ("average", re.compile(r"\b(?:averages?|mean)\b", ANY_CASE), "sum(values) / len(values)"),
    ("count", re.compile(r"\b(?:counts?|how many|number of)\b", ANY_CASE), "len(values)"),
    ("highest", re.compile(r"\b(?:highest|largest|maximum|max)\b", ANY_CASE), "max(values)"),
    ("lowest", re.compile(r"\b(?:lowest|smallest|minimum|min)\b", ANY_CASE), "min(values)"),
    ("total", re.compile(r"\b(?:totals?|sums?|add up)\b", ANY_CASE), "sum(values)"),
)
EXPRESSIONS = {name: expression for name, _words, expression in SUMMARIES}
LOOK = """# Look at {name}
import csv
import json
with open({path!r}) as file:
    lines = file.read().lstrip("\\ufeff").splitlines()
sign = max([",", ";", "\\t"], key=lambda one: lines[0].count(one))
rows = list(csv.DictReader(lines, delimiter=sign))
columns = list(rows[0]) if rows else []
print(json.dumps({{"rows": len(rows), "columns": columns, "first": rows[:5]}}))
"""
LOOKED = re.compile(r"# Look at (?P<name>.+)")
PLANNED = re.compile(r"# Plan: (?P<plan>\{.*\})")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A computation: `summary` of `column` by `group`, of rows whose `only` begins with `value`.

    If the group is a date, its first `period` characters count. `draw` is a kind of chart.
    """

    summary: str
    column: str = ""
    group: str = ""
    period: int = 0
    only: str = ""
    value: str = ""
    draw: str = ""
    keep: bool = False

    @property
    def unit(self) -> str:
        """The meaning of one group: a month, or a value of the column."""
        return next((name for name, size in PERIODS.items() if size == self.period), self.group)

    @property
    def title(self) -> str:
        """The title, for people."""
        said = "Number of rows" if self.summary == "count" else f"{self.summary} of {self.column}"
        by = f" by {self.unit}" if self.group else ""
        only = f", only {self.value}" if self.value else ""
        return f"{said[0].upper()}{said[1:]}{by}{only}"

    @property
    def file(self) -> str:
        """The file name of the table of results."""
        plain = re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")
        return f"{plain[:60]}.csv"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table as inspected: its number of rows, its columns, its first rows."""

    name: str
    rows: int
    columns: list[str]
    first: list[dict[str, Any]]

    def values(self, column: str) -> list[str]:
        """Return a column's values in the first rows."""
        return [str(row.get(column) or "").strip() for row in self.first]

    def is_date(self, column: str) -> bool:
        """Return True for a column of ISO 8601 dates."""
        return all(DATE.match(value) for value in self.values(column))

    def is_number(self, column: str) -> bool:
        """Return True for a column of plain numbers."""
        values = [value for value in self.values(column) if value]
        return bool(values) and all(NUMBER.match(value) for value in values)


@dataclass(frozen=True, kw_only=True)
class CodeCall:
    """An earlier call of code and its output; `output` is None until the call has ended."""

    code: str
    output: str | None


def list_code_calls(items: Sequence[Item]) -> list[CodeCall]:
    """Return the code calls among `items`, in order."""
    outputs = {item.call_id: item.output for item in items if isinstance(item, FunctionOutput)}
    return [
        CodeCall(code=code, output=outputs.get(item.call_id))
        for item in items
        if isinstance(item, FunctionCall) and item.name == NAME
        for code in _codes(item.arguments)
    ]


def _codes(arguments: str) -> Iterator[str]:
    try:
        code = json.loads(arguments).get("code")
    except (ValueError, AttributeError):
        return
    if isinstance(code, str):
        yield code


def build_inspection_code(name: str) -> str:
    """Return code that reads a table and prints its columns."""
    return LOOK.format(name=name, path=name)


def parse_table(made: CodeCall) -> Table | None:
    """Return the table that a call inspected, or None for other calls and failed ones."""
    looked = LOOKED.match(made.code)
    if looked is None:
        return None
    try:
        seen = json.loads(str(parse_output(made.output).get("logs") or ""))
        columns = [str(column) for column in seen["columns"]]
        first = [row for row in seen["first"] if isinstance(row, dict)]
        rows = int(seen["rows"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return Table(name=looked["name"], rows=rows, columns=columns, first=first)


def parse_plan(made: CodeCall) -> Plan | None:
    """Return the computation of a call, or None for code that was not written here."""
    planned = PLANNED.match(made.code)
    try:
        return Plan(**json.loads(planned["plan"])) if planned else None
    except (ValueError, TypeError, RecursionError):
        return None


def build_plan(table: Table, text: str, *, before: Plan | None) -> Plan | None:
    """Return the computation that a text requests, building on `before`; None if it names none."""
    if not table.columns or not table.first:
        return None
    summary = next((name for name, words, _how in SUMMARIES if words.search(text)), "")
    before = replace(before, keep=False) if before else None
    plan = before or Plan(summary=summary or "total", column=_number_column(table, text))
    if summary:
        plan = replace(plan, summary=summary)
    if before and (named := _find_column(table, text, numbers=True)):
        plan = replace(plan, column=named)
    plan = _add_grouping(plan, table, text)
    plan = _add_filter(plan, table, text)
    if DRAW.search(text):
        kind = next(
            (item for item in ("line", "pie") if re.search(rf"\b{item}\b", text, ANY_CASE)), "bar"
        )
        plan = replace(plan, draw=kind)
    if not plan.column and plan.summary != "count":
        return None
    keep = bool(KEEP.search(text))
    if before is None:
        asked = bool(summary or plan.group or plan.value or plan.draw)
    else:
        asked = bool(summary or keep) or plan != before
    return replace(plan, keep=keep) if asked else None


def _number_column(table: Table, text: str) -> str:
    numbers = [column for column in table.columns if table.is_number(column)]
    return _find_column(table, text, numbers=True) or (numbers[-1] if numbers else "")


def _find_column(table: Table, text: str, *, numbers: bool) -> str:
    """Return the column that a text names, among those with numbers or among the others."""
    said = {_singular(word) for word in re.findall(r"\w+", text.lower())}
    for column in table.columns:
        words = {_singular(word) for word in re.findall(r"\w+", column.lower().replace("_", " "))}
        if words and words <= said and table.is_number(column) == numbers:
            return column
    return ""


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and len(word) > 3 else word


def _add_grouping(plan: Plan, table: Table, text: str) -> Plan:
    dates = [column for column in table.columns if table.is_date(column)]
    period = PERIOD.search(text)
    if period and dates:
        unit = (period[1] or period[2]).lower().replace("dai", "day")
        return replace(plan, group=dates[0], period=PERIODS[unit])
    named = _find_column(table, text, numbers=False)
    if named:
        return replace(plan, group=named, period=10 if named in dates else 0)
    return plan


def _add_filter(plan: Plan, table: Table, text: str) -> Plan:
    dates = [column for column in table.columns if table.is_date(column)]
    time = TIME.search(text)
    if time and dates:
        return replace(plan, only=dates[0], value=time[1])
    for column in table.columns:
        for value in table.values(column):
            if not NUMBER.match(value) and len(value) > 2 and _mentions(text, value):
                return replace(plan, only=column, value=value)
    if re.search(r"\b(?:all|everything|every year)\b", text, ANY_CASE):
        return replace(plan, only="", value="")
    return plan


def _mentions(text: str, value: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text, ANY_CASE) is not None


def build_code(plan: Plan, *, with_chart: bool) -> str:
    """Return Python for a plan. It uses `rows` of an inspection; it may call `chart`."""
    number = "1" if plan.summary == "count" else f"float(row[{plan.column!r}])"
    conditions = [f"row[{plan.column!r}]"] if plan.summary != "count" else []
    if plan.value:
        conditions.append(f"row[{plan.only!r}].startswith({plan.value!r})")
    key = f"row[{plan.group!r}]" if plan.group else "'all'"
    key += f"[:{plan.period}]" if plan.group and plan.period else ""
    put = f"groups.setdefault({key}, []).append({number})"
    inside = (
        [f"    if {' and '.join(conditions)}:", f"        {put}"] if conditions else [f"    {put}"]
    )
    lines = [
        f"# Plan: {json.dumps(asdict(plan))}",
        "groups = {}",
        "for row in rows:",
        *inside,
        "result = {}",
        "for key, values in sorted(groups.items()):",
        f"    result[key] = round({EXPRESSIONS[plan.summary]}, 2)",
        "    print(json.dumps([key, result[key]]))",
        *(_chart(plan, with_chart=with_chart) if plan.draw else []),
        *(_file(plan) if plan.keep else []),
    ]
    return "\n".join(lines) + "\n"


def _chart(plan: Plan, *, with_chart: bool) -> list[str]:
    if with_chart:
        return ["if result:", f"    chart({plan.draw!r}, result, title={plan.title[:80]!r})"]
    draws = {
        "bar": "plt.bar(names, numbers)",
        "line": "plt.plot(names, numbers)",
        "pie": "plt.pie(numbers, labels=names)",
    }
    return [
        "import matplotlib.pyplot as plt",
        "names, numbers = [str(key) for key in result], list(result.values())",
        draws[plan.draw],
        f"plt.title({plan.title!r})",
        "plt.xticks(rotation=45)",
    ]


def _file(plan: Plan) -> list[str]:
    return [
        f"with open({plan.file!r}, 'w') as file:",
        f"    file.write({f'{plan.group or plan.column},{plan.summary}'!r} + '\\n')",
        "    for key, value in result.items():",
        "        file.write(f'{key},{value}\\n')",
    ]
