"""Database phases that a run sees through to their end, cancelled or without a database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import structlog

from tenants.db import see_through

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger(__name__)


async def phase(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do as `see_through`, but a cancelled caller waits until `fn` is done.

    What follows a cancellation writes the same rows of the same turn.
    """
    work = asyncio.ensure_future(see_through(fn, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        if not work.cancelled() and work.exception() is not None:
            log.info("phase_failed_while_stopped", error=type(work.exception()).__qualname__)
        raise
