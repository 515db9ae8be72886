"""A job for a run that no process holds: it wakes one with room at once."""

from __future__ import annotations

from uuid import UUID

from procrastinate.contrib.django import app as jobs


def wake(tenant_id: UUID, run_id: str) -> None:
    """Leave a run to any process, within the caller's transaction."""
    task = jobs.configure_task("chat.tasks.execute_run", queue="runs")
    task.defer(tenant_id=str(tenant_id), run_id=run_id)
