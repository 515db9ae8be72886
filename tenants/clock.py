"""The database's clock, shared by all processes.

The clocks of hosts differ. Times that one process stores and another process compares with the
present (deadlines, expiry, sign-outs) come from here.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

# Database time minus this host's time; zero until a difference is measured.
_offset = timedelta(0)
_measured = False


def now() -> datetime:
    """Return the present time by the database's clock."""
    return timezone.now() + _offset


def get_offset_seconds() -> float:
    """Return the seconds to add to this host's clock to get the database's time."""
    return _offset.total_seconds()


def get_timestamp() -> float:
    """Return the database's time in seconds since 1970, for windows that processes share."""
    return time.time() + get_offset_seconds()


def is_measured() -> bool:
    """Return True once this process has compared its clock with the database's."""
    return _measured


def update_offset(before: datetime, database: datetime, after: datetime) -> None:
    """Correct the offset from a database time read between two readings of our clock.

    An offset consistent with the measurement is kept, so that the time does not jump each time.
    """
    global _offset, _measured
    _measured = True
    least, most = database - after, database - before
    if not least <= _offset <= most:
        _offset = least + (most - least) / 2


def measure_offset(connection: Any) -> None:
    """Measure the offset on a psycopg connection outside a transaction."""
    before = timezone.now()
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    update_offset(before, row[0], timezone.now())
