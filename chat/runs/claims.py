"""Claims: which process executes a run, fenced by a token that grows with each claim."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

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


def fenced_update(claim: Claim, **fields: object) -> None:
    """Update the claimed run's row.

    Raises:
        ClaimLapsed: when the row names another owner or token.
    """
    rows = Run.objects.active().filter(pk=claim.run_id, owner=claim.owner, token=claim.token)
    if rows.update(**fields) != 1:
        raise ClaimLapsed(claim.run_id)
