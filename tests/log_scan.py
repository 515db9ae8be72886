"""Check that the log of a test contains no user content, personal data or secrets."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from tests.world import PASSWORD

FORBIDDEN = ("CANARY-", PASSWORD)


class Lines(logging.Handler):
    """Logging handler that keeps each line as the real handler would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        self.lines.append(self.format(record))


@contextmanager
def scanned_log(*forbidden: str) -> Iterator[list[str]]:
    """Collect the lines logged in the block; fail at its end if one contains a forbidden word."""
    root = logging.getLogger()
    formatters = [
        handler.formatter
        for handler in root.handlers
        if isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter)
    ]
    scan = Lines()
    scan.setFormatter(formatters[0])
    root.addHandler(scan)
    try:
        yield scan.lines
    finally:
        root.removeHandler(scan)
    assert find_forbidden("\n".join(scan.lines), *forbidden) == []


def find_forbidden(text: str, *forbidden: str) -> list[str]:
    """Return the lines that contain one of the words, by default those of FORBIDDEN."""
    words = forbidden or FORBIDDEN
    return [line for line in text.splitlines() if any(word in line for word in words)]
