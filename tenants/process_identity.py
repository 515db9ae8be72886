"""Which server process this is, and which ones of the same supervisor died before it.

The supervisor tells a process over its standard input, which nobody else can write to. It names
a process as dead only after it has waited for its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True, kw_only=True)
class ProcessIdentity:
    """The id that this process claims work with, and ids whose claims it may free."""

    process_id: UUID | None = None
    predecessors: tuple[UUID, ...] = ()


_identity = ProcessIdentity()


def current_identity() -> ProcessIdentity:
    """Return what the supervisor said; a process without one has no id and no predecessors."""
    return _identity


def set_identity(told: dict[str, Any]) -> None:
    """Keep what the supervisor says of this process."""
    global _identity
    _identity = ProcessIdentity(
        process_id=UUID(told["process_id"]),
        predecessors=tuple(UUID(dead) for dead in told["predecessors"]),
    )
