"""Table of run transitions, and the compare-and-set that every status change uses."""

from __future__ import annotations

from typing import Any

from django.db.models import F

from chat.models import Run, RunStatus
from chat.runs.state.claims import Claim

S = RunStatus

TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    S.QUEUED: frozenset({S.IN_PROGRESS, S.CANCELLING, S.CANCELLED, S.EXPIRED, S.FAILED}),
    S.IN_PROGRESS: frozenset(
        {
            S.REQUIRES_ACTION,
            S.COMPLETED,
            S.INCOMPLETE,
            S.FAILED,
            S.EXPIRED,
            S.CANCELLING,
        }
    ),
    S.REQUIRES_ACTION: frozenset({S.QUEUED, S.CANCELLING, S.CANCELLED, S.EXPIRED, S.FAILED}),
    # A terminal status that is already being written may win the race against a cancel.
    S.CANCELLING: frozenset({S.CANCELLED, S.COMPLETED, S.INCOMPLETE, S.FAILED, S.EXPIRED}),
    S.CANCELLED: frozenset(),
    S.COMPLETED: frozenset(),
    S.INCOMPLETE: frozenset(),
    S.FAILED: frozenset(),
    S.EXPIRED: frozenset(),
}
TERMINAL = frozenset(status for status, edges in TRANSITIONS.items() if not edges)


def list_sources(status: RunStatus) -> list[RunStatus]:
    """Return the statuses from which `status` can be reached, in the table's order."""
    return [source for source, edges in TRANSITIONS.items() if status in edges]


def advance(run_id: str, to: RunStatus, *, claim: Claim | None = None, **fields: Any) -> bool:
    """Move a run to `to` if the table allows it from the current status; return whether it moved.

    With `claim` the write is fenced: it changes nothing once the claim has lapsed. `fields` are
    written in the same UPDATE. False means that another write was first.
    """
    runs = Run.objects.filter(pk=run_id, status__in=list_sources(to))
    if claim is not None:
        runs = runs.filter(owner=claim.owner, token=claim.token)
    fields.setdefault("state", F("state") + 1)
    return bool(runs.update(status=to, **fields) == 1)


def render_mermaid() -> str:
    """Return the state diagram of the table in Mermaid syntax."""
    lines = ["stateDiagram-v2", f"    [*] --> {S.QUEUED}"]
    for source, edges in TRANSITIONS.items():
        lines += [f"    {source} --> {target}" for target in S if target in edges]
        if not edges:
            lines.append(f"    {source} --> [*]")
    return "\n".join(lines)
