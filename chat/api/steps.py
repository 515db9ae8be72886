"""Views of a run's steps."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Prefetch
from rest_framework.request import Request
from rest_framework.response import Response

from chat import wire
from chat.actions.fields import get_row
from chat.api.base import ApiView
from chat.api.pagination import PageQuery
from chat.api.runs import IncludeQuery, includes_content, read_run
from chat.models import Run, RunStep, ToolCall
from chat.tools import registry


class StepsQuery(PageQuery, IncludeQuery):
    """Query parameters of the step list."""


def select_steps(run: Run) -> Any:
    """Return a run's steps with their tool calls."""
    calls = ToolCall.objects.order_by("round", "index")
    return RunStep.objects.filter(run=run).prefetch_related(Prefetch("calls", queryset=calls))


def render_step(step: RunStep, run: Run, *, with_content: bool) -> dict[str, Any]:
    """Return the step object."""
    calls = list(step.calls.all())
    return wire.step_object(
        step, run=run, calls=calls, labels=registry.get_labels(), with_content=with_content
    )


class StepsView(ApiView):
    """Steps of a run."""

    def get(self, request: Request, thread_id: str, run_id: str) -> Response:
        """List the steps."""
        query = self.query(StepsQuery)
        with_content = includes_content(query)
        with transaction.atomic():
            run = read_run(self.principal, thread_id, run_id)
            return self.page(
                select_steps(run),
                lambda step: render_step(step, run, with_content=with_content),
                query=query,
                prefix="step_",
                by=("index",),
            )


class StepView(ApiView):
    """A single step."""

    def get(self, request: Request, thread_id: str, run_id: str, step_id: str) -> Response:
        """Retrieve the step."""
        with_content = includes_content(self.query(IncludeQuery))
        with transaction.atomic():
            run = read_run(self.principal, thread_id, run_id)
            step = get_row(select_steps(run), step_id, param="step_id", prefix="step_")
            return self.answer(render_step(step, run, with_content=with_content))
