"""Claims: which process executes a run, fenced by a token that increases with each claim."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic
from uuid import UUID

from django.db import transaction

from chat.conf import conf
from chat.models import Run


class ClaimLapsed(Exception):
    """Another process took over the run; this process must not write it any more."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Right to write a run while its row has this `owner` and `token`."""

    tenant_id: UUID
    run_id: str
    owner: UUID
    token: int

    @classmethod
    def of(cls, run: Run) -> Claim:
        """Return the claim stored in the run's row."""
        assert run.owner is not None
        return cls(tenant_id=run.tenant_id, run_id=run.pk, owner=run.owner, token=run.token)


@dataclass(kw_only=True)
class PendingClaims:
    """Claims of this process whose tasks have not started, registered before their commit.

    Until the task starts, the row names this process and nothing executes the run. It looks like a
    claim whose commit succeeded but was never confirmed. A claim that never starts (rolled back,
    commit not confirmed, or lost with a cancelled task) is kept for one lapse period only.
    Thread-safe.
    """

    loop: asyncio.AbstractEventLoop | None = None
    _until: dict[Claim, float] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def register(self, claim: Claim) -> None:
        """Register a claim; call within the transaction that writes it."""
        self._keep(claim, monotonic() + conf.lapse_seconds)
        transaction.on_commit(lambda: self._keep_committed(claim))

    def _keep_committed(self, claim: Claim) -> None:
        """Keep a claim until the event loop has run once, however busy it is."""
        if self.loop is None or self.loop.is_closed():
            return
        self._keep(claim, math.inf)
        self.loop.call_soon_threadsafe(self._start_expiry, claim)

    def _start_expiry(self, claim: Claim) -> None:
        if claim in self._until:
            self._keep(claim, monotonic() + conf.lapse_seconds)

    def _keep(self, claim: Claim, until: float) -> None:
        with self._lock:
            self._until[claim] = until

    def discard(self, claim: Claim) -> None:
        """Remove a claim whose task starts."""
        with self._lock:
            self._until.pop(claim, None)

    def list_run_ids(self, owner: UUID) -> set[str]:
        """Return the ids of runs claimed for the process `owner` that may be about to start."""
        now = monotonic()
        with self._lock:
            self._until = {claim: until for claim, until in self._until.items() if until > now}
            return {claim.run_id for claim in self._until if claim.owner == owner}


pending_claims = PendingClaims()


def update_fenced(claim: Claim, **fields: object) -> None:
    """Update the claimed run's row.

    Raises:
        ClaimLapsed: the row has another owner or token, or the run is no longer active.
    """
    rows = Run.objects.active().filter(pk=claim.run_id, owner=claim.owner, token=claim.token)
    if rows.update(**fields) != 1:
        raise ClaimLapsed(claim.run_id)
