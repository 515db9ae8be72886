"""Adapters for model servers behind one port. Start with `base.py`; `build` creates an adapter."""

from __future__ import annotations

from importlib import import_module

from chat.upstream.base import Upstream, UpstreamConfig


def build(config: UpstreamConfig) -> Upstream:
    """Create the adapter that `config.kind` names. Cheap: the client library is imported later.

    Raises:
        ValueError: the kind does not exist or does not accept an option; the message is a
            sentence.
    """
    module_name, _, class_name = config.kind.rpartition(".")
    try:
        adapter = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"Upstream {config.name}: backend {config.kind} not found.") from error
    try:
        upstream: Upstream = adapter(config.name, **config.options)
    except TypeError as error:
        raise ValueError(f"Upstream {config.name}: {error}.") from error
    return upstream
