"""Embeddings from an OpenAI-compatible server."""

from __future__ import annotations

import base64
import math
from array import array
from collections.abc import Sequence
from typing import Any, ClassVar

from chat.upstream.errors import UpstreamUnavailable
from chat.upstream.http import HttpUpstream

# Servers take up to 2,048 texts at once; fewer keep one request's time and size within reason.
BATCH = 64


class UpstreamEmbedder(HttpUpstream):
    """The `/embeddings` of a model server; options as HttpUpstream has them, and the model.

    `dimensions` is asked for where given (the newer models of OpenAI can be cut short);
    servers that ignore it have their vectors cut to `most_dimensions` and scaled again.
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
        self._most = most_dimensions

    @property
    def id(self) -> str:
        """What tells vectors that can be compared from others."""
        return f"{self.model}:{self._dimensions or self._most}"

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a vector of length 1 for each text, in order.

        Raises:
            UpstreamError: when the server fails or answers something else.
        """
        vectors: list[list[float]] = []
        for start in range(0, len(texts), BATCH):
            vectors += await self._embed(texts[start : start + BATCH])
        return vectors

    async def _embed(self, texts: Sequence[str]) -> list[list[float]]:
        body: dict[str, Any] = {"model": self.model, "input": list(texts)}
        if self._dimensions is not None:
            body["dimensions"] = self._dimensions
        answer = await self._call("POST", self.path, body)
        found: dict[int, list[float]] = {}
        for place, row in enumerate(answer.get("data") or ()):
            if isinstance(row, dict):
                found[row.get("index", place)] = _vector(row.get("embedding"))
        if set(found) != set(range(len(texts))):
            raise UpstreamUnavailable("Not every text was given a vector.", retryable=False)
        return [unit(found[place][: self._most]) for place in range(len(texts))]


def _vector(value: Any) -> list[float]:
    if isinstance(value, str):
        # Little-endian 32-bit floats: what servers send that were asked for base64.
        return list(array("f", base64.b64decode(value)))
    if isinstance(value, list) and value and all(isinstance(x, int | float) for x in value):
        return [float(x) for x in value]
    raise UpstreamUnavailable("A vector has another shape.", retryable=False)


def unit(vector: Sequence[float]) -> list[float]:
    """Return `vector` scaled to length 1; one without a direction stays as it is."""
    length = math.sqrt(math.fsum(x * x for x in vector))
    return [x / length for x in vector] if length else list(vector)
