"""Enqueue an unclaimed run as a job, so that a process with capacity starts it at once."""

from __future__ import annotations

from collections import Counter
from time import monotonic
from uuid import UUID

from procrastinate.contrib.django import app as jobs

WINDOW_SECONDS = 60.0
LOWEST_PRIORITY = -10_000


class TenantPriorities:
    """Recent number of enqueued runs per tenant: the more, the lower the priority of the next."""

    def __init__(self) -> None:
        self._counts: Counter[UUID] = Counter()
        self._since = monotonic()

    def get_priority(self, tenant_id: UUID) -> int:
        """Count a job and return its priority in the queue."""
        if monotonic() - self._since > WINDOW_SECONDS:
            self._counts.clear()
            self._since = monotonic()
        priority = max(LOWEST_PRIORITY, -self._counts[tenant_id])
        self._counts[tenant_id] += 1
        return priority


tenant_priorities = TenantPriorities()


def enqueue(tenant_id: UUID, run_id: str) -> None:
    """Defer a job that executes the run, within the caller's transaction."""
    priority = tenant_priorities.get_priority(tenant_id)
    task = jobs.configure_task("chat.tasks.execute_run", queue="runs", priority=priority)
    task.defer(tenant_id=str(tenant_id), run_id=run_id)
