"""What the built-in tools of a run find: what its assistant and its thread name."""

from __future__ import annotations

from chat.models import Assistant, Run, Thread
from chat.models.resources import Resources


def resources_of(run: Run) -> tuple[Resources, Resources]:
    """Return what a run's assistant, as it is now, and its thread name.

    Of the assistant only the company's own is to be found, of the thread only what
    the run's principal may name. Must run in the tenant's scope and a transaction.
    """
    rows = Assistant.objects.filter(pk=run.assistant_id).only("tools", "tool_resources")
    assistant: Assistant | None = rows.first()
    threads = Thread.objects.filter(pk=run.thread_id).values_list("tool_resources", flat=True)
    return assistant.usable_resources() if assistant is not None else {}, threads.first() or {}
