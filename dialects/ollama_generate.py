"""The dialect of Ollama's native /api/generate: what the gateway reads of requests, answers and streams."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from dialects import sse, upstream_errors
from dialects.chat import not_a_chunk, read_model, wrong_type
from dialects.errors import Family, GatewayError
from dialects.fields import length
from dialects.ollama_chat import OllamaChatTap, ollama_cap, ollama_usage
from dialects.types import Facts, Framer, Framing, JsonObject, StreamTap, Usage


class OllamaGenerateDialect:
    """Ollama's completion of one prompt. Unknown fields pass; the known ones have the types that the API
    documents."""

    name = "ollama_generate"
    family: Family = "ollama"
    framing: Framing = "ndjson"

    def facts(self, body: JsonObject) -> Facts:
        model = read_model(body)
        for name in ("prompt", "suffix"):
            if not isinstance(body.get(name), str | None):
                raise wrong_type(name, "a string", body[name])
        stream = body.get("stream")
        if stream is not None and type(stream) is not bool:
            raise wrong_type("stream", "a boolean", stream)
        return Facts(
            model=model,
            # Streaming is the default here.
            stream=stream is not False,
            max_tokens=ollama_cap(body),
            include_usage=True,
            prompt_chars=length(body.get("prompt")) + length(body.get("suffix")),
            needs=frozenset(("insert",)) if body.get("suffix") else frozenset(),
        )

    def usage(self, body: JsonObject) -> Usage | None:
        return ollama_usage(body)

    def is_answer(self, body: JsonObject) -> bool:
        return type(body.get("response")) is str and body.get("done") is True

    def framer(self) -> Framer:
        return sse.NdjsonFramer()

    def tap(self, *, strip_usage: bool) -> StreamTap:  # noqa: ARG002 - usage is part of the last line
        return OllamaGenerateTap()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return upstream_errors.from_reply(status, headers, body)

    def error_event(self, error: GatewayError, request_id: str) -> bytes:
        return orjson.dumps({"error": error.message, "request_id": request_id}) + b"\n"


class OllamaGenerateTap(OllamaChatTap):
    """Notes of a stream of lines, which is one of chat but for where the text is."""

    __slots__ = ()

    def _said(self, line: JsonObject) -> int | None:
        text, thinking = line.get("response"), line.get("thinking")
        if not isinstance(text, str | None) or not isinstance(thinking, str | None):
            raise not_a_chunk()
        if text is None and thinking is None:
            return None
        return length(text) + length(thinking)


OLLAMA_GENERATE = OllamaGenerateDialect()
