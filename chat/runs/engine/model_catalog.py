"""Catalog of the models that a company may use over the API, and their model servers."""

from __future__ import annotations

from dataclasses import dataclass

from chat.conf import conf
from chat.errors import UnknownModel
from chat.models import Assistant

MAX_MODELS_IN_USE = 200


@dataclass(frozen=True, kw_only=True)
class OfferedModel:
    """A model and its model server; "" is the installation's default server."""

    name: str
    upstream: str

    @property
    def server(self) -> str:
        """Name of the model server."""
        return self.upstream or str(conf.default_upstream)


def list_offered_models() -> list[OfferedModel]:
    """Return the models configured by the operator or used by the company's assistants, by name.

    If several servers have a model of the same name, the default server wins, then the first in
    the settings; configured models win over those of assistants. Call within a tenant transaction.
    """
    upstreams: dict[str, str] = {}
    for upstream in ("", *conf.upstreams):
        for name in _list_configured(upstream):
            upstreams.setdefault(name, upstream)
    in_use = Assistant.objects.filter(enabled=True).values_list("model", "upstream").distinct()
    for name, upstream in in_use.order_by("model", "upstream")[:MAX_MODELS_IN_USE]:
        if conf.has_upstream(upstream):
            upstreams.setdefault(name, upstream)
    return [OfferedModel(name=name, upstream=upstreams[name]) for name in sorted(upstreams)]


def get_model_upstream(model: str) -> str:
    """Return the model server of `model`, "" for the default. Call within a tenant transaction.

    Raises:
        UnknownModel: the company may not use a model of this name.
    """
    for item in list_offered_models():
        if item.name == model:
            return item.upstream
    raise build_unknown_model_error(model)


def build_unknown_model_error(model: str) -> UnknownModel:
    """Return the error for a model that the company may not use."""
    return UnknownModel(f"The requested model '{model[:256]}' does not exist.", param="model")


def _list_configured(upstream: str) -> list[str]:
    config = conf.upstream(upstream)
    return [name for name in (config["MODEL"], *config.get("MODELS", ())) if name]
