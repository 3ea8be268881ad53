"""The embedded model: WordLlama's vectors of tokens, read from its package's own folder.

Importing this module costs numpy and the tokenizer's library: `pipeline.semantic.lazily` does it when a route
first asks. The package's own code is not imported: it looks for its tokenizer in a folder that is not there,
would then ask a hub for it, and sets up the process's logging.
"""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

NAME = "local"
_PACKAGE = "wordllama"
_WEIGHTS = Path("weights", "l2_supercat_256.safetensors")
_TOKENIZER = Path("tokenizers", "l2_supercat_tokenizer_config.json")
_TENSOR = "embedding.weight"
# A character may be several tokens, and a thousand tokens take some two milliseconds: longer texts are for a
# thread.
_INLINE_CHARS = 250


class LocalModel:
    """Text to vector: the mean of its tokens' vectors. Raises OSError where the package is not complete."""

    def __init__(self) -> None:
        spec = find_spec(_PACKAGE)
        if spec is None or spec.origin is None:
            raise FileNotFoundError("the package wordllama is not installed")
        folder = Path(spec.origin).parent
        # 16-bit floats: half the memory, and the mean is taken in 32.
        self._vectors = load_file(folder / _WEIGHTS)[_TENSOR]
        self._tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))

    async def embed(self, text: str) -> bytes | None:
        """A packed vector; None for a text without any."""
        if len(text) <= _INLINE_CHARS:
            return self.vector(text)
        return await asyncio.to_thread(self.vector, text)

    def vector(self, text: str) -> bytes | None:
        """See `embed`."""
        # Capitals are other tokens with other vectors, and mean nothing else; see the figures in the docs.
        tokens = self._tokenizer.encode(text.casefold(), add_special_tokens=False).ids
        if not tokens:
            return None
        mean = self._vectors[tokens].astype(np.float32).mean(axis=0)
        length = float(np.linalg.norm(mean))
        if length == 0:
            return None
        packed: bytes = (mean / length).astype("<f4").tobytes()
        return packed
