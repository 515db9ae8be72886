"""GET /v1/models: what the company may use."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.base import ApiView
from chat.conf import conf
from chat.errors import NotFound
from chat.runs.engine.model_catalog import OfferedModel, list_offered_models


class OfferedModels(ApiView):
    """What both views read."""

    beta = False

    def list_models(self) -> list[OfferedModel]:
        """Read them."""
        with transaction.atomic():
            return list_offered_models()

    def model_object(self, model: OfferedModel) -> dict[str, Any]:
        """Return the `model` object."""
        # No server tells when its models were made: the company's beginning is a date at least.
        created = int(self.principal.tenant.created_at.timestamp())
        return {
            "id": model.name,
            "object": "model",
            "created": created,
            "owned_by": model.server,
            "atrium": {"demonstration": conf.is_demonstration(model.upstream)},
        }


class ModelsView(OfferedModels):
    """Models by name."""

    def get(self, request: Request) -> Response:
        """List them all: there is no second page."""
        data = [self.model_object(item) for item in self.list_models()]
        return Response({"object": "list", "data": data})


class ModelView(OfferedModels):
    """One model. Names may hold slashes."""

    def get(self, request: Request, model: str) -> Response:
        """Retrieve it."""
        for item in self.list_models():
            if item.name == model:
                return Response(self.model_object(item))
        raise NotFound(f"The model '{model[:256]}' does not exist.", param="model")
