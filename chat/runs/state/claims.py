"""Claims: which process executes a run, fenced by a token that grows with each claim."""

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
    """Another process took the run over: this one writes nothing more."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to write a run, as long as `owner` and `token` are the row's."""

    tenant_id: UUID
    run_id: str
    owner: UUID
    token: int

    @classmethod
    def of(cls, run: Run) -> Claim:
        """Return the claim that the row states."""
        assert run.owner is not None
        return cls(tenant_id=run.tenant_id, run_id=run.pk, owner=run.owner, token=run.token)


@dataclass(kw_only=True)
class UnbegunClaims:
    """Claims of this process whose tasks have not begun, noted ahead of their commit.

    Between the two the row names this process and nothing executes the run, which looks like a
    claim that was committed unheard. A claim that is never begun (rolled back, committed
    unheard, or lost with a cancelled task) counts for one lapse only. Callable from any thread.
    """

    loop: asyncio.AbstractEventLoop | None = None
    _until: dict[Claim, float] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def note(self, claim: Claim) -> None:
        """Note a claim; run it in the transaction that makes it."""
        self._keep(claim, monotonic() + conf.lapse_seconds)
        transaction.on_commit(lambda: self._keep_committed(claim))

    def _keep_committed(self, claim: Claim) -> None:
        """Keep a claim until the event loop has had its turn, however busy the loop is."""
        if self.loop is None or self.loop.is_closed():
            return
        self._keep(claim, math.inf)
        self.loop.call_soon_threadsafe(self._wait_no_longer, claim)

    def _wait_no_longer(self, claim: Claim) -> None:
        if claim in self._until:
            self._keep(claim, monotonic() + conf.lapse_seconds)

    def _keep(self, claim: Claim, until: float) -> None:
        with self._lock:
            self._until[claim] = until

    def discard(self, claim: Claim) -> None:
        """Forget a claim whose task begins."""
        with self._lock:
            self._until.pop(claim, None)

    def run_ids(self, owner: UUID) -> set[str]:
        """Return the runs that are claimed for the process `owner` and may be about to begin."""
        now = monotonic()
        with self._lock:
            self._until = {claim: until for claim, until in self._until.items() if until > now}
            return {claim.run_id for claim in self._until if claim.owner == owner}


unbegun_claims = UnbegunClaims()


def update_fenced(claim: Claim, **fields: object) -> None:
    """Update the claimed run's row.

    Raises:
        ClaimLapsed: when the row names another owner or token.
    """
    rows = Run.objects.active().filter(pk=claim.run_id, owner=claim.owner, token=claim.token)
    if rows.update(**fields) != 1:
        raise ClaimLapsed(claim.run_id)
