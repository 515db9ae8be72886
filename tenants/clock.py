"""The clock that every process shares: the database's.

The clocks of hosts differ. What one process stores and another one compares with the present
(deadlines, expiry, sign-outs) is taken from here.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

# What has to be added to this host's clock; zero until it is known to be wrong.
_offset = timedelta(0)
_measured = False


def now() -> datetime:
    """Return the present time by the database's clock."""
    return timezone.now() + _offset


def offset_seconds() -> float:
    """Return what has to be added to this host's clock."""
    return _offset.total_seconds()


def now_seconds() -> float:
    """Return the database's time in seconds since 1970, for windows that processes share."""
    return time.time() + offset_seconds()


def is_measured() -> bool:
    """Return True once this process has compared its clock with the database's."""
    return _measured


def learn(before: datetime, database: datetime, after: datetime) -> None:
    """Correct the offset by a time that the database told between two readings of our clock.

    An offset that may be right is kept, so that the time does not jump with each measurement.
    """
    global _offset, _measured
    _measured = True
    least, most = database - after, database - before
    if not least <= _offset <= most:
        _offset = least + (most - least) / 2


def measure(connection: Any) -> None:
    """Ask the database for its time, on a psycopg connection outside of a transaction."""
    before = timezone.now()
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    learn(before, row[0], timezone.now())
