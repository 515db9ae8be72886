"""Identity of this server process, and its dead predecessors under the same supervisor.

The supervisor sends both over the process's standard input, which no other process can write
to. It reports a process as dead only after it has waited for its exit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True, kw_only=True)
class ProcessIdentity:
    """The id that this process claims work with, and the ids whose claims it may release."""

    process_id: UUID | None = None
    predecessors: tuple[UUID, ...] = ()


_identity = ProcessIdentity()


def get_identity() -> ProcessIdentity:
    """Return the identity; without a supervisor it has no id and no predecessors."""
    return _identity


def set_identity(message: dict[str, Any]) -> None:
    """Store the identity sent by the supervisor."""
    global _identity
    _identity = ProcessIdentity(
        process_id=UUID(message["process_id"]),
        predecessors=tuple(UUID(dead) for dead in message["predecessors"]),
    )
