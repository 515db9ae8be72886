"""Steps of the demonstration provider's computations: inspect, write code, report the results."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from chat.upstream.base import Item, ToolSpec
from chat.upstream.scripted_code import (
    ANY_CASE,
    DRAW,
    SUMMARIES,
    TIME,
    CodeCall,
    Plan,
    Table,
    build_code,
    build_inspection_code,
    build_plan,
    list_code_calls,
    parse_plan,
    parse_table,
)
from chat.upstream.scripted_words import parse_output

COMPUTE = re.compile(
    r"\b(?:totals?|sums?|averages?|mean|counts?|how many|charts?|plots?|graphs?|diagrams?|draw"
    r"|comput\w*|calculat\w*|analy\w*|add up|highest|lowest|largest|smallest|maximum|minimum"
    r"|(?:by|per|each) (?:year|month|day)|columns?|rows?|csv|spreadsheet|table"
    r"|(?:this|the|my) (?:file|data)|attach\w*)\b",
    ANY_CASE,
)
FOLLOW_UP = re.compile(
    r"^\W*(?:and |now |please |what about |how about |only |just |as |the )", ANY_CASE
)
EXPRESSION = re.compile(
    r"^\W*(?:what(?:'s| is)|how much is|calculate|compute|and)?\s*"
    r"(?P<sum>\(*-?\d[\d.]*(?:(?:\s*(?:\*\*|[*/+%])\s*|\s+-\s+)\(*-?\d[\d.]*\)*)+)\s*[=?.!]*\s*$",
    ANY_CASE,
)
SUM = re.compile("|".join(words.pattern for _name, words, _how in SUMMARIES), ANY_CASE)
FILE = re.compile(r"^- /mnt/data/(?P<name>.+)$", re.MULTILINE)
TABLES = (".csv", ".tsv")
MAX_SUM_LENGTH = 200
MAX_WORDS, MAX_CALLS, MAX_SHOWN, MAX_COLUMNS = 12, 4, 40, 8


@dataclass(frozen=True, kw_only=True)
class Step:
    """The next step: code to run, or text."""

    code: str = ""
    text: str = ""


def begin(items: Sequence[Item], text: str, tool: ToolSpec | None) -> str | None:
    """Return the first code for a person's request, or None if it asks for no computation."""
    if tool is None:
        return None
    if len(text) <= MAX_SUM_LENGTH and (expression := EXPRESSION.match(text)):
        return expression["sum"]
    names = [name for name in FILE.findall(tool.description) if name.lower().endswith(TABLES)]
    table, before = _find_latest(list_code_calls(items))
    named = next((name for name in names if name.lower() in text.lower()), None)
    goes_on = before is not None and len(text.split()) <= MAX_WORDS
    follows = goes_on and (FOLLOW_UP.match(text) or TIME.search(text) or DRAW.search(text))
    if not (COMPUTE.search(text) or named or follows) or not (names or table):
        return None
    newest = names[-1] if names else None
    wanted = named or (table.name if table and follows else newest)
    if table is None or (wanted is not None and table.name != wanted):
        return build_inspection_code(wanted) if wanted else None
    return _build_next_code(table, text, before, tool) or build_inspection_code(table.name)


def get_next_step(
    items: Sequence[Item], turn: Sequence[Item], text: str, tool: ToolSpec | None
) -> Step:
    """Return the step after the last code call in `turn`, the items after the question."""
    made = list_code_calls(turn)
    last, (table, before) = made[-1], _find_latest(list_code_calls(items))
    found = parse_output(last.output)
    if error := found.get("error"):
        # The session was restarted, so files must be read again.
        lost = "NameError" in str(error) and len(made) < MAX_CALLS
        return (
            Step(code=build_inspection_code(table.name))
            if lost and table
            else Step(text=_describe_failure(error))
        )
    seen = parse_table(last)
    if seen is None:
        plan = parse_plan(last)
        return Step(text=_value(found) if plan is None else _results(plan, found))
    # A computation on another table does not apply to this one.
    earlier = [item for item in list_code_calls(items) if item is not last]
    same = before if _find_latest(earlier)[0] == seen else None
    code = _build_next_code(seen, text, same, tool) if len(made) < MAX_CALLS else None
    return Step(text=_describe_table(seen)) if code is None else Step(code=code)


def _build_next_code(
    table: Table, text: str, before: Plan | None, tool: ToolSpec | None
) -> str | None:
    plan = build_plan(
        table, text, before=before if FOLLOW_UP.match(text) or not SUM.search(text) else None
    )
    if plan is None or tool is None:
        return None
    return build_code(plan, with_chart="chart(" in tool.description)


def _find_latest(made: Sequence[CodeCall]) -> tuple[Table | None, Plan | None]:
    """Return the table inspected last, and the last computation on it."""
    table: Table | None = None
    plan: Plan | None = None
    for item in made:
        seen, computed = parse_table(item), parse_plan(item)
        if seen is not None:
            plan = plan if table is not None and table.name == seen.name else None
            table = seen
        elif computed is not None and not parse_output(item.output).get("error"):
            plan = computed
    return table, plan


def _describe_failure(error: object) -> str:
    if isinstance(error, dict):
        return f"Sorry, that did not work. {error.get('message') or ''}".strip()
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return f"Sorry, the code did not work: `{lines[-1].strip() if lines else 'no reason given'}`"


def _value(found: dict[str, object]) -> str:
    text = str(found.get("value") or found.get("logs") or "").strip()
    return f"It is **{text}**." if text else "The code ran and printed nothing."


def _describe_table(table: Table) -> str:
    rows = "one row" if table.rows == 1 else f"{table.rows} rows"
    columns = table.columns[:MAX_COLUMNS]
    first = [[str(row.get(column) or "") for column in columns] for row in table.first]
    head = f"**{_cell(table.name)}** has {rows} and {len(table.columns)} columns."
    return f"{head} It begins like this:\n\n{_grid(columns, first)}" if first else head


def _results(plan: Plan, found: dict[str, object]) -> str:
    rows = []
    for line in str(found.get("logs") or "").splitlines():
        try:
            key, value = json.loads(line)
        except (ValueError, TypeError):
            continue
        rows.append([str(key), _number(value)])
    if not rows:
        return f"{plan.title}: no row of the table fits."
    if not plan.group:
        text = f"{plan.title}: **{rows[0][1]}**."
    else:
        text = f"{plan.title}:\n\n{_grid([plan.unit, plan.summary], rows[:MAX_SHOWN])}"
    if len(rows) > MAX_SHOWN:
        text += f"\n\nThese are the first {MAX_SHOWN} of {len(rows)}."
    if plan.keep and found.get("files"):
        text += f"\n\nHere it is as a file: [{plan.file}](sandbox:/mnt/data/{plan.file})"
    return text


def _number(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"([|<*\[\]`\\])", r"\\\1", " ".join(text.split()))[:200]
