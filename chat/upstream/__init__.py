"""Model servers behind one port. Start with `base.py`; `build` makes an adapter from settings."""

from __future__ import annotations

from importlib import import_module

from chat.upstream.base import Upstream, UpstreamConfig


def build(config: UpstreamConfig) -> Upstream:
    """Make the adapter that `config.kind` names; cheap, the client library is loaded later.

    Raises ValueError with a sentence when the kind or an option cannot work.
    """
    module_name, _, class_name = config.kind.rpartition(".")
    try:
        adapter = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"Upstream {config.name}: there is no {config.kind}.") from error
    try:
        upstream: Upstream = adapter(config.name, **config.options)
    except TypeError as error:
        raise ValueError(f"Upstream {config.name}: {error}.") from error
    return upstream
