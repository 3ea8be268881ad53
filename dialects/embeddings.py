"""The dialect of OpenAI's embeddings: what the gateway reads of its requests and answers."""

from __future__ import annotations

from typing import Any

from dialects.chat import read_int, read_model, read_user
from dialects.completions import text_or_token_chars
from dialects.errors import Family, bad_request
from dialects.fields import count
from dialects.types import Facts, JsonObject, Usage
from dialects.whole import WholeAnswers


class EmbeddingsDialect(WholeAnswers):
    """Embeddings. Token ids are legal here: only a translation has to refuse them."""

    name = "embeddings"
    family: Family = "openai"

    def facts(self, body: JsonObject) -> Facts:
        model = read_model(body)
        given = body.get("input")
        # vLLM embeds `messages` in place of an input.
        if given is None and "messages" not in body:
            raise bad_request("Missing required parameter: 'input'.", "input", "missing_required_parameter")
        if given == []:
            raise bad_request(
                "Invalid 'input': empty array. Expected an array with minimum length 1.",
                "input",
                "empty_array",
            )
        read_int(body, "dimensions", minimum=1)
        return Facts(
            model=model,
            prompt_chars=text_or_token_chars(given, "input"),
            end_user=read_user(body),
            needs=frozenset(("embeddings",)),
        )

    def usage(self, body: JsonObject) -> Usage | None:
        usage = body.get("usage")
        if type(usage) is not dict:
            return None
        prompt = count(usage.get("prompt_tokens"))
        if prompt is None:
            prompt = count(usage.get("total_tokens"))
        return None if prompt is None else Usage(input_tokens=prompt)

    def is_answer(self, body: JsonObject) -> bool:
        data: Any = body.get("data")
        return type(data) is list and all(
            type(entry) is dict and type(entry.get("embedding")) in (list, str) for entry in data
        )


EMBEDDINGS = EmbeddingsDialect()
