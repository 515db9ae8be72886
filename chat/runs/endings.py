"""How a run ends, and the limit that its next answer has."""

from __future__ import annotations

from dataclasses import dataclass

from chat.models import RunStatus, StepStatus
from chat.models.reasons import Reason


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run ends, and what becomes of the message and step that are open then."""

    status: RunStatus
    reason: Reason | None = None
    message_reason: str = ""

    @property
    def step_status(self) -> StepStatus:
        """The status of a step that was open."""
        return {
            RunStatus.COMPLETED: StepStatus.COMPLETED,
            RunStatus.INCOMPLETE: StepStatus.COMPLETED,
            RunStatus.FAILED: StepStatus.FAILED,
            RunStatus.EXPIRED: StepStatus.EXPIRED,
        }.get(self.status, StepStatus.CANCELLED)


COMPLETED = Ending(status=RunStatus.COMPLETED)
CANCELLED = Ending(
    status=RunStatus.CANCELLED, reason=Reason.STOPPED, message_reason="run_cancelled"
)
EXPIRED = Ending(status=RunStatus.EXPIRED, reason=Reason.DEADLINE, message_reason="run_expired")


def build_failure(reason: Reason) -> Ending:
    """Return the ending of a failed run."""
    return Ending(status=RunStatus.FAILED, reason=reason, message_reason="run_failed")


def build_incomplete(reason: Reason) -> Ending:
    """Return the ending of a run that was cut short by a limit."""
    cut = "content_filter" if reason == Reason.CONTENT_FILTER else "max_tokens"
    return Ending(status=RunStatus.INCOMPLETE, reason=reason, message_reason=cut)


@dataclass(frozen=True, kw_only=True)
class OutputLimit:
    """How many tokens the next answer may have, and how a run ends that reaches them."""

    tokens: int
    reason: Reason
