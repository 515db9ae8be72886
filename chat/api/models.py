"""Views of /v1/models: the models that the company may use."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.base import ApiView
from chat.conf import conf
from chat.errors import NotFound
from chat.runs.engine.model_catalog import OfferedModel, list_offered_models


class OfferedModelsView(ApiView):
    """Base of the views that return models."""

    beta = False

    def list_models(self) -> list[OfferedModel]:
        """Return the models offered to the company."""
        with transaction.atomic():
            return list_offered_models()

    def render_model(self, model: OfferedModel) -> dict[str, Any]:
        """Return the `model` object."""
        # Servers do not report when a model was created; the company's date is a valid substitute.
        created = int(self.principal.tenant.created_at.timestamp())
        return {
            "id": model.name,
            "object": "model",
            "created": created,
            "owned_by": model.server,
            "atrium": {"demonstration": conf.is_demonstration(model.upstream)},
        }


class ModelsView(OfferedModelsView):
    """List of models."""

    def get(self, request: Request) -> Response:
        """List all models on a single page."""
        data = [self.render_model(item) for item in self.list_models()]
        return Response({"object": "list", "data": data})


class ModelView(OfferedModelsView):
    """A single model. Names may contain slashes."""

    def get(self, request: Request, model: str) -> Response:
        """Retrieve the model."""
        for item in self.list_models():
            if item.name == model:
                return Response(self.render_model(item))
        raise NotFound(f"The model '{model[:256]}' does not exist.", param="model")
