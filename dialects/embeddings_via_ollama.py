"""Embeddings by Ollama's /api/embed, in the two encodings that OpenAI's clients read."""

from __future__ import annotations

import base64
import struct
from typing import Any

from dialects.errors import GatewayError, bad_request
from dialects.parts import Losses, invalid_answer
from dialects.parts_ollama import Options
from dialects.types import Event, JsonObject, ModelFacts

_KNOWN = frozenset(
    {"model", "input", "dimensions", "encoding_format", "keep_alive", "truncate", "options", "num_ctx"}
)
_NUMBERS = frozenset({float, int})


class EmbeddingsViaOllama:
    """One attempt. The whole batch is one call, and its order is kept."""

    def __init__(self) -> None:
        self._losses = Losses()
        self.dropped: list[str] = self._losses
        self._model = ""
        self._inputs = 0
        self._width: int | None = None
        self._base64 = False

    def request(self, body: JsonObject, model: ModelFacts) -> JsonObject:
        self._model = model.name
        given = body.get("input")
        self._inputs = len(_texts(given))
        self._base64 = _encoding(body) == "base64"
        out: JsonObject = {
            "model": model.name,
            "input": given,
            # Ollama cuts what is too long without a word; OpenAI's clients are used to an error.
            "truncate": body.get("truncate") is True,
        }
        width = body.get("dimensions")
        if width is not None:
            self._width = out["dimensions"] = width
        if body.get("keep_alive") is not None:
            out["keep_alive"] = body["keep_alive"]
        options = Options()
        options.extend(body, self._losses)
        if options:
            out["options"] = options
        self._losses.note_unknown(body, _KNOWN, {})
        return out

    def response(self, body: JsonObject) -> JsonObject:
        vectors = body.get("embeddings")
        if type(vectors) is not list or len(vectors) != self._inputs:
            raise invalid_answer()
        data = [
            {"object": "embedding", "index": index, "embedding": self._vector(vector)}
            for index, vector in enumerate(vectors)
        ]
        tokens = body.get("prompt_eval_count")
        count = tokens if type(tokens) is int and tokens >= 0 else 0
        return {
            "object": "list",
            "data": data,
            "model": body.get("model") or self._model,
            "usage": {"prompt_tokens": count, "total_tokens": count},
        }

    def event(self, event: Event) -> bytes:
        """Never called for a well-behaved provider: embeddings do not stream."""
        if event.data:
            raise invalid_answer()
        return b""

    def finish(self) -> bytes:
        return b""

    def _vector(self, vector: Any) -> list[float] | str:
        if type(vector) is not list or not _NUMBERS.issuperset(map(type, vector)):
            raise invalid_answer()
        if self._width is not None and len(vector) != self._width:
            raise bad_request(
                f"This model cannot give {self._width} dimensions; it has {len(vector)}.",
                "dimensions",
                "unsupported_value",
            )
        if not self._base64:
            return vector
        try:
            packed = struct.pack(f"<{len(vector)}f", *vector)
        except (OverflowError, struct.error):
            raise invalid_answer() from None
        return base64.b64encode(packed).decode()


def _texts(given: Any) -> list[str]:
    texts = [given] if type(given) is str else given
    if type(texts) is not list:
        raise bad_request("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    if any(type(text) in (int, list) for text in texts):
        raise bad_request(
            "This model takes texts: 'input' cannot be token ids, which only one tokenizer understands.",
            "input",
            "unsupported_value",
        )
    if not texts or not all(type(text) is str and text for text in texts):
        raise _empty()
    return texts


def _empty() -> GatewayError:
    return bad_request("'input' must not be empty.", "input", "invalid_value")


def _encoding(body: JsonObject) -> str:
    encoding = body.get("encoding_format")
    if encoding not in (None, "float", "base64"):
        raise bad_request(
            "'encoding_format' must be 'float' or 'base64'.", "encoding_format", "invalid_value"
        )
    return encoding or "float"
