"""Waiting for what comes at once unless something is broken."""

from __future__ import annotations

import time
from collections.abc import Callable

# A busy machine may be slow, and stand still for seconds: who waits long is not wrong.
WAIT_SECONDS = 60.0


def wait_until(done: Callable[[], object], *, seconds: float = WAIT_SECONDS) -> float:
    """Wait for something and return how long it took."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < seconds, "It did not happen."
        time.sleep(0.02)
    return time.monotonic() - began
