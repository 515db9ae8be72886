"""Resources of a run for its built-in tools."""

from __future__ import annotations

from chat.models import Assistant, Run, Thread
from chat.models.resources import Resources


def get_resources(run: Run) -> tuple[Resources, Resources]:
    """Return the tool resources of a run's assistant (as it is now) and of its thread.

    Callers must resolve the assistant's resources among those of the company only, and the
    thread's resources among those visible to the run's principal. Call within the tenant's scope
    and a transaction.
    """
    rows = Assistant.objects.filter(pk=run.assistant_id).only("tools", "tool_resources")
    assistant: Assistant | None = rows.first()
    threads = Thread.objects.filter(pk=run.thread_id).values_list("tool_resources", flat=True)
    return assistant.get_usable_resources() if assistant is not None else {}, threads.first() or {}
