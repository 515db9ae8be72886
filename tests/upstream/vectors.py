"""Vectors as an embedding model gives them: texts with the same words lie close."""

from __future__ import annotations

import hashlib
import re
from typing import Any

DIMENSIONS = 64


def vector_of(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """Return a vector that each word of `text` pulls in a direction of its own."""
    vector = [0.01] * dimensions
    for word in re.findall(r"\w+", text.lower()):
        digest = hashlib.sha256(word.encode()).digest()
        vector[int.from_bytes(digest[:4], "big") % dimensions] += 1.0
    return vector


def embeddings_answer(body: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of `POST /v1/embeddings`."""
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    dimensions = body.get("dimensions", DIMENSIONS)
    rows = [
        {"object": "embedding", "index": index, "embedding": vector_of(text, dimensions)}
        for index, text in enumerate(texts)
    ]
    used = sum(len(text) // 4 + 1 for text in texts)
    return {
        "object": "list",
        "model": body["model"],
        "data": rows,
        "usage": {"prompt_tokens": used, "total_tokens": used},
    }
