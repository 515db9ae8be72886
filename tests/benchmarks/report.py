"""Figures beside their goals: the table for people, JSON for comparisons."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A figure's name, unit, and the values it must and should reach; None is no goal."""

    name: str
    unit: str
    must: float | None = None
    stretch: float | None = None
    at_least: bool = False

    def verdict(self, value: float) -> str:
        """Say in a word or two how `value` stands."""
        if self.stretch is not None and self._reaches(value, self.stretch):
            return "met, stretch too"
        if self.must is None:
            return "" if self.stretch is None else "stretch missed"
        if self._reaches(value, self.must):
            return "met"
        return f"missed by {abs(value - self.must):.4g} {self.unit}".rstrip()

    def _reaches(self, value: float, goal: float) -> bool:
        return value >= goal if self.at_least else value <= goal


BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"

INDEXED = ("txt", "md", "html", "csv", "json", "pdf", "docx")
GOALS = (
    Goal(name="first token, direct, p50", unit="ms"),
    Goal(name="first token, direct, p99", unit="ms"),
    Goal(name="first token, Atrium, p50", unit="ms"),
    Goal(name="first token, Atrium, p99", unit="ms"),
    Goal(name="first token, added, p50", unit="ms", must=15, stretch=12),
    Goal(name="50 chats, delay p50", unit="ms"),
    Goal(name="50 chats, delay p99", unit="ms"),
    Goal(name="50 chats, added delay p50", unit="ms", must=25, stretch=20),
    Goal(name="50 chats, added delay p99", unit="ms", must=80, stretch=60),
    Goal(name="50 chats, delay p99 while all flow", unit="ms"),
    Goal(name="50 chats, relay's delay p50", unit="ms"),
    Goal(name="50 chats, relay's delay p99", unit="ms"),
    Goal(name="50 chats, CPU a token", unit="us"),
    Goal(name="50 streams, relay's CPU a token", unit="us"),
    Goal(name="100 chats, CPU a token", unit="us", must=150, stretch=120),
    Goal(name="100 streams, relay's CPU a token", unit="us"),
    Goal(name="100 chats, CPU over the relay's", unit="x", must=2, stretch=1.6),
    Goal(name="100 chats, on time", unit="%", must=97, at_least=True),
    Goal(name="200 chats, on time", unit="%", stretch=97, at_least=True),
    Goal(name="50 streams of the API, CPU over the sockets'", unit="x", must=1.3),
    Goal(name="first token beside another company's flood, p50", unit="ms"),
    Goal(name="first token beside another company's flood, p95", unit="ms", must=2000),
    Goal(name="tokens lost, doubled or reordered", unit="", must=0),
    Goal(name="idle socket", unit="KiB", must=40),
    Goal(name="active stream", unit="KiB", must=100),
    Goal(name="server process, fresh", unit="MB", must=140, stretch=120),
    Goal(name="server process, after the load", unit="MB"),
    Goal(name="statements of a turn", unit="", must=14),
    Goal(name="durable commits of a turn", unit="", must=3),
    Goal(name="statements of a tool round", unit="", must=5),
    Goal(name="durable commits of a tool round", unit="", must=2),
    Goal(name="10,000 messages over 10, first token", unit="x", must=1.3),
    Goal(name="thread list at 1,000,000 messages, p50", unit="ms", must=15),
    Goal(name="history page at 1,000,000 messages, p50", unit="ms", must=15),
    Goal(name="API list of messages at 1,000,000, p50", unit="ms", must=15),
    Goal(name="API list of runs at 1,000,000 messages, p50", unit="ms", must=15),
    Goal(name="API run at 1,000,000 messages, p50", unit="ms", must=15),
    Goal(name="search, 100,000 passages, p50", unit="ms", must=60),
    Goal(name="search, 100,000 passages, p95", unit="ms", must=120),
    Goal(name="search by words alone, p50", unit="ms"),
    Goal(name="embedding of a question, p50", unit="ms"),
    Goal(name="event loop's longest wait during searches", unit="ms", must=20),
    *(Goal(name=f"indexing, {kind}", unit="MB/s") for kind in INDEXED),
    Goal(name="indexing with vectors", unit="passages/s"),
    Goal(name="start to first answer", unit="s", must=3),
    Goal(name="first turn over a warm one", unit="x", must=2),
)
NAMES = frozenset(goal.name for goal in GOALS)


class Figures:
    """What the rounds found, by the goal's name."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        """Note a round's value. Raises KeyError for a name without a goal."""
        if name not in NAMES:
            raise KeyError(name)
        self.values.setdefault(name, []).append(value)

    def table(self) -> str:
        """Return a Markdown table: median, spread over the rounds, goals, verdict."""
        lines = [
            "| figure | median | spread | must | stretch | |",
            "| --- | ---: | ---: | ---: | ---: | --- |",
        ]
        for goal in GOALS:
            if values := self.values.get(goal.name):
                middle = median(values)
                cells = [
                    goal.name,
                    f"{_short(middle)} {goal.unit}".rstrip(),
                    _spread(values),
                    _bound(goal, goal.must),
                    _bound(goal, goal.stretch),
                    goal.verdict(middle),
                ]
                lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)

    def save(self, path: Path, *, options: dict[str, Any], load: Sequence[float]) -> None:
        """Write everything as JSON; `load` is the machine's before the bench began."""
        whole = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
            "python": platform.python_version(),
            "load_before": list(load),
            "options": options,
            "goals": [asdict(goal) for goal in GOALS],
            "rounds": self.values,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(whole, indent=1))


def write_section(page: Path, saved: Path, figures: Figures) -> None:
    """Write the table, and what it was measured on, between the marks of a page."""
    told = json.loads(saved.read_text())
    load = ", ".join(f"{item:.1f}" for item in told["load_before"])
    words = (
        f"{told['date']}, {told['machine']}, Python {told['python']}, "
        f"load before {load}; {told['options']['rounds']} rounds, the medians of them."
    )
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{words}\n\n{figures.table()}\n{END}{after}")


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _spread(values: Sequence[float]) -> str:
    return f"{_short(min(values))}-{_short(max(values))}" if len(values) > 1 else ""


def _bound(goal: Goal, value: float | None) -> str:
    if value is None:
        return ""
    return f"{'≥' if goal.at_least else '≤'} {_short(value)}"
