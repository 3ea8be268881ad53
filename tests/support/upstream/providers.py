"""Which provider a path belongs to, and the default answer of the fake to a request."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.support.upstream import (
    anthropic_answers,
    ollama_answers,
    openai_answers,
    openai_files,
    openai_media,
    openai_responses_answers,
)
from tests.support.upstream.memory import Memory
from tests.support.upstream.refused import RefusedError
from tests.support.upstream.script import Reply, encoded
from tests.support.upstream.wire import Received

# Any prefix may stand before these, so that one server plays several upstreams of a kind.
_PATHS = (
    (re.compile(r".*/v1/(chat/completions|completions|embeddings)"), "POST", "openai"),
    (
        re.compile(
            r".*/v1/(images/(?:generations|edits|variations)|audio/(?:speech|transcriptions|translations)"
            r"|moderations|rerank|responses/input_tokens)"
        ),
        "POST",
        "openai_media",
    ),
    (re.compile(r".*/v1/((?:files|batches)(?:/.+)?)"), "*", "openai_files"),
    (re.compile(r".*/v1/(responses)"), "POST", "openai_responses"),
    (re.compile(r".*/v1/(messages(?:/count_tokens)?)"), "POST", "anthropic"),
    (re.compile(r".*/v1/(models(?:/.+)?)"), "GET", "models"),
    (re.compile(r".*/api/(chat|generate|embed|show)"), "POST", "ollama"),
    (re.compile(r".*/api/(tags|version)"), "GET", "ollama"),
)
_ANSWERS: dict[str, Callable[[Received, str, Memory], Reply]] = {
    "openai": openai_answers.answer,
    "openai_files": openai_files.answer,
    "openai_media": openai_media.answer,
    "openai_responses": openai_responses_answers.answer,
    "anthropic": anthropic_answers.answer,
    "ollama": ollama_answers.answer,
}
_REFUSALS: dict[str, Callable[[RefusedError], Reply]] = {
    "openai": openai_answers.refusal,
    "openai_files": openai_answers.refusal,
    "openai_media": openai_answers.refusal,
    "openai_responses": openai_answers.refusal,
    "anthropic": anthropic_answers.refusal,
    "ollama": ollama_answers.refusal,
}


def default_reply(request: Received, memory: Memory) -> Reply:
    """The provider's answer, or its refusal, which is also written on the request."""
    for pattern, method, provider in _PATHS:
        if found := pattern.fullmatch(request.path):
            if provider == "models":
                provider = "anthropic" if request.header("anthropic-version") else "openai"
            try:
                if method not in ("*", request.method):
                    raise RefusedError(f"Method {request.method} is not allowed here", status=405)
                return _ANSWERS[provider](request, found[1], memory)
            except RefusedError as error:
                request.refusal = error.message
                return _REFUSALS[provider](error)
    request.refusal = f"no provider has the path {request.path}"
    return Reply(
        404, [("content-type", "application/json")], encoded({"error": {"message": request.refusal}})
    )
