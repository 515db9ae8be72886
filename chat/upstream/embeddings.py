"""Embeddings from an OpenAI-compatible server."""

from __future__ import annotations

import base64
import math
from array import array
from collections.abc import Sequence
from typing import Any, ClassVar

from chat.upstream.errors import UpstreamUnavailable
from chat.upstream.http import HttpUpstream

# Servers accept up to 2,048 texts per request; a smaller batch bounds its time and size.
BATCH_SIZE = 64


class UpstreamEmbedder(HttpUpstream):
    """Client of a model server's `/embeddings`; takes the options of HttpUpstream and the model.

    `dimensions` is sent if given (OpenAI's newer models can shorten vectors). Vectors of servers
    that ignore it are truncated to `most_dimensions` and normalised again.
    """

    path: ClassVar[str] = "/embeddings"

    def __init__(
        self,
        *,
        model: str,
        dimensions: int | None = None,
        most_dimensions: int = 1024,
        window_tokens: int = 8000,
        **options: Any,
    ) -> None:
        super().__init__("embeddings", **options)
        self.model = model
        self.window_tokens = window_tokens
        self._dimensions = dimensions
        self._max_dimensions = most_dimensions

    @property
    def id(self) -> str:
        """The identity of the vector space: only vectors of the same id can be compared."""
        return f"{self.model}:{self._dimensions or self._max_dimensions}"

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a unit vector for each text, in order.

        Raises:
            UpstreamError: the server fails or does not return a vector for each text.
        """
        vectors: list[list[float]] = []
        for start in range(0, len(texts), BATCH_SIZE):
            vectors += await self._embed(texts[start : start + BATCH_SIZE])
        return vectors

    async def _embed(self, texts: Sequence[str]) -> list[list[float]]:
        body: dict[str, Any] = {"model": self.model, "input": list(texts)}
        if self._dimensions is not None:
            body["dimensions"] = self._dimensions
        answer = await self._call("POST", self.path, body)
        found: dict[int, list[float]] = {}
        for index, row in enumerate(answer.get("data") or ()):
            if isinstance(row, dict):
                found[row.get("index", index)] = _parse_vector(row.get("embedding"))
        if set(found) != set(range(len(texts))):
            raise UpstreamUnavailable(
                "The server did not return a vector for each text.", retryable=False
            )
        return [normalise(found[index][: self._max_dimensions]) for index in range(len(texts))]


def _parse_vector(value: Any) -> list[float]:
    if isinstance(value, str):
        # Some servers send base64 of little-endian 32-bit floats.
        return list(array("f", base64.b64decode(value)))
    if isinstance(value, list) and value and all(isinstance(x, int | float) for x in value):
        return [float(x) for x in value]
    raise UpstreamUnavailable("A vector has an unexpected form.", retryable=False)


def normalise(vector: Sequence[float]) -> list[float]:
    """Return `vector` normalised to length 1; a zero vector is returned unchanged."""
    length = math.sqrt(math.fsum(x * x for x in vector))
    return [x / length for x in vector] if length else list(vector)
