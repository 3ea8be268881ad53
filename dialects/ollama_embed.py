"""The dialect of Ollama's native /api/embed: what the gateway reads of its requests and answers."""

from __future__ import annotations

from typing import Any

from dialects.chat import read_int, read_model, wrong_type
from dialects.errors import Family
from dialects.fields import count
from dialects.types import Facts, JsonObject, Usage
from dialects.whole import WholeAnswers


class OllamaEmbedDialect(WholeAnswers):
    """Ollama's embeddings of one text or several."""

    name = "ollama_embed"
    family: Family = "ollama"

    def facts(self, body: JsonObject) -> Facts:
        given: Any = body.get("input")
        texts = [given] if type(given) is str else given
        if type(texts) is not list or not all(type(text) is str for text in texts):
            raise wrong_type("input", "a string or an array of strings", given)
        read_int(body, "dimensions", minimum=0)
        return Facts(
            model=read_model(body),
            prompt_chars=sum(map(len, texts)),
            needs=frozenset(("embeddings",)),
        )

    def usage(self, body: JsonObject) -> Usage | None:
        prompt = count(body.get("prompt_eval_count"))
        return None if prompt is None else Usage(input_tokens=prompt)

    def is_answer(self, body: JsonObject) -> bool:
        vectors = body.get("embeddings")
        return type(vectors) is list and all(type(vector) is list for vector in vectors)


OLLAMA_EMBED = OllamaEmbedDialect()
