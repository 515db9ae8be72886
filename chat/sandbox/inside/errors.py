"""The only place that catches every exception, because model code may raise any."""

from __future__ import annotations

from collections.abc import Callable


def catch_exception(action: Callable[[], object]) -> BaseException | None:
    """Run the action and return the exception it raised, or None."""
    try:
        action()
    except BaseException as error:  # noqa: BLE001
        return error
    return None
