"""Summary of skipped tests in the last line of a test run: their number and reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest


def summarize_skips(reports: Iterable[pytest.TestReport | pytest.CollectReport]) -> str:
    """Return one line that counts the skipped tests by reason, or "" if none was skipped."""
    reasons = Counter(_reason(report) for report in reports)
    if not reasons:
        return ""
    details = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
    return f"NOT TESTED: {reasons.total()} skipped: {details}"


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)


def print_skip_summary(config: pytest.Config) -> None:
    """Print the line below pytest's summary, except in xdist workers."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):
        return
    if line := summarize_skips(reporter.stats.get("skipped", [])):
        reporter.write_line(line, yellow=True)
