"""Addresses below /v1, as the Assistants API has them: no slash at the end."""

from __future__ import annotations

from django.urls import path

from chat.api.models import ModelsView, ModelView

urlpatterns = [
    path("models", ModelsView.as_view()),
    path("models/<path:model>", ModelView.as_view()),
]
