"""How a run ends, and the output limit of its next answer."""

from __future__ import annotations

from dataclasses import dataclass

from chat.models import RunStatus, StepStatus
from chat.models.reasons import Reason


@dataclass(frozen=True, kw_only=True)
class Ending:
    """Final status of a run, and of its open message and step."""

    status: RunStatus
    reason: Reason | None = None
    message_reason: str = ""

    @property
    def step_status(self) -> StepStatus:
        """Final status of an open step."""
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
INTERRUPTED = Ending(
    status=RunStatus.CANCELLED, reason=Reason.INTERRUPTED, message_reason="run_cancelled"
)
EXPIRED = Ending(status=RunStatus.EXPIRED, reason=Reason.DEADLINE, message_reason="run_expired")


def build_failure(reason: Reason) -> Ending:
    """Return the ending of a failed run."""
    return Ending(status=RunStatus.FAILED, reason=reason, message_reason="run_failed")


def build_incomplete(reason: Reason) -> Ending:
    """Return the ending of a run that a limit cut short."""
    message_reason = "content_filter" if reason == Reason.CONTENT_FILTER else "max_tokens"
    return Ending(status=RunStatus.INCOMPLETE, reason=reason, message_reason=message_reason)


@dataclass(frozen=True, kw_only=True)
class OutputLimit:
    """Maximum tokens of the next answer, and the end reason of a run that reaches them."""

    tokens: int
    reason: Reason
