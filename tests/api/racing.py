"""Requests that come at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from tenants.db import release_connection
from tests.clock import WAIT_SECONDS

T = TypeVar("T")


def at_once(number: int, ask: Callable[[], T]) -> list[T]:
    """Call `ask` in so many threads at once and return what each got."""
    gate = Barrier(number)

    def one(_number: int) -> T:
        gate.wait(timeout=WAIT_SECONDS)
        try:
            return ask()
        finally:
            release_connection()

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(one, range(number)))
