"""Addresses below /v1, as the Assistants API has them: no slash at the end."""

from __future__ import annotations

from django.urls import path

from chat.api.assistants import AssistantsView, AssistantView
from chat.api.models import ModelsView, ModelView
from chat.api.runs import (
    CancelRunView,
    EventsView,
    RunsView,
    RunView,
    SubmitToolOutputsView,
    ThreadAndRunView,
)
from chat.api.steps import StepsView, StepView

THREAD = "threads/<str:thread_id>"
RUN = f"{THREAD}/runs/<str:run_id>"

urlpatterns = [
    path("assistants", AssistantsView.as_view()),
    path("assistants/<str:assistant_id>", AssistantView.as_view()),
    path("models", ModelsView.as_view()),
    path("models/<path:model>", ModelView.as_view()),
    path("threads/runs", ThreadAndRunView.as_view()),
    path(f"{THREAD}/runs", RunsView.as_view()),
    path(RUN, RunView.as_view()),
    path(f"{RUN}/cancel", CancelRunView.as_view()),
    path(f"{RUN}/submit_tool_outputs", SubmitToolOutputsView.as_view()),
    path(f"{RUN}/events", EventsView.as_view()),
    path(f"{RUN}/steps", StepsView.as_view()),
    path(f"{RUN}/steps/<str:step_id>", StepView.as_view()),
]
