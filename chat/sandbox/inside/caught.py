"""The one place behind the wall that catches everything: code of a model raises what it likes."""

from __future__ import annotations

from collections.abc import Callable


def caught(action: Callable[[], object]) -> BaseException | None:
    """Run the action and return what it raised."""
    try:
        action()
    except BaseException as error:  # noqa: BLE001
        return error
    return None
