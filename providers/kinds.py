"""Provider kinds as rows of data: the dialects that each speaks, where, and how it is authenticated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# "bearer": in Authorization; the others are the header that holds the secret itself.
Auth = Literal["bearer", "x-api-key", "api-key", "none"]
TransportName = Literal["http", "sandbox"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One provider kind.

    `paths`: dialect name to the path appended to the provider's base URL; its order is the order of
    preference when the client's own dialect is not among them. `headers`: sent with every request.
    `forward`: client headers that may travel when client and upstream speak the same dialect; those that
    belong to no dialect (`idempotency-key`) travel in any case.
    `passes`: surfaces that nobody translates, with their paths: whoever lacks one cannot be asked for it.
    `only`: dialect name to a pattern of the models that speak it, where not all do.
    `stream_usage`: a chat stream reports usage only when asked by `stream_options`, so the gateway asks;
    False: it always reports, and refuses a body with that field, so the gateway takes it out.
    """

    name: str
    label: str
    base_url: str
    paths: Mapping[str, str]
    auth: Auth
    transport: TransportName = "http"
    needs_credential: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    forward: frozenset[str] = frozenset()
    passes: Mapping[str, str] = field(default_factory=dict)
    only: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    stream_usage: bool = True
    # A path that answers cheaply and without cost, for "test this provider".
    probe: str = "/models"

    def speaks(self, dialect: str, model: str) -> bool:
        """True when it can be asked for `model` in this dialect."""
        if dialect not in self.paths:
            return False
        only = self.only.get(dialect)
        return only is None or only.search(model) is not None

    def dialects(self, model: str) -> tuple[str, ...]:
        """The dialects in which this kind can be asked for `model`, best first."""
        return tuple(d for d in self.paths if self.speaks(d, model))


_OPENAI_PATHS = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
}
# A server that has only some of them says so itself.
_OPENAI_PASSES = {
    "images": "/images/generations",
    "image_edits": "/images/edits",
    "image_variations": "/images/variations",
    "speech": "/audio/speech",
    "transcriptions": "/audio/transcriptions",
    "translations": "/audio/translations",
    "moderations": "/moderations",
    "files": "/files",
    "file_content": "/files",
    "batches": "/batches",
    "realtime": "/realtime",
}

# On OpenAI itself only the instruct and base models answer /completions; the chat models refuse it.
_OPENAI_COMPLETION_MODELS = re.compile(r"instruct|^davinci|^babbage|^ft:(davinci|babbage)")

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name="openai",
            label="OpenAI",
            base_url="https://api.openai.com/v1",
            # Last: only who speaks responses gets them, chat has been there for longer. Compatible servers
            # seldom have them.
            paths={**_OPENAI_PATHS, "responses": "/responses"},
            auth="bearer",
            forward=frozenset({"openai-beta", "idempotency-key"}),
            passes={**_OPENAI_PASSES, "response_tokens": "/responses/input_tokens"},
            only={"completions": _OPENAI_COMPLETION_MODELS},
        ),
        Kind(
            name="anthropic",
            label="Anthropic",
            base_url="https://api.anthropic.com",
            paths={"messages": "/v1/messages", "count_tokens": "/v1/messages/count_tokens"},
            auth="x-api-key",
            # The version that still takes sampling parameters; a client that speaks the dialect itself
            # sends its own, which wins.
            headers={"anthropic-version": "2023-06-01"},
            forward=frozenset({"anthropic-version", "anthropic-beta", "idempotency-key"}),
            probe="/v1/models",
        ),
        Kind(
            name="ollama",
            label="Ollama",
            base_url="http://localhost:11434",
            paths={
                "ollama_chat": "/api/chat",
                "ollama_generate": "/api/generate",
                "ollama_embed": "/api/embed",
            },
            auth="bearer",
            needs_credential=False,
            probe="/api/tags",
        ),
        Kind(
            name="openai_compatible",
            label="OpenAI-compatible (vLLM, Groq, LM Studio, ...)",
            base_url="",
            paths=_OPENAI_PATHS,
            auth="bearer",
            needs_credential=False,
            forward=frozenset({"openai-beta", "idempotency-key"}),
            passes={**_OPENAI_PASSES, "rerank": "/rerank"},
        ),
        Kind(
            name="azure_openai",
            label="Azure OpenAI (its v1 API)",
            # Each resource has its own: https://RESOURCE.openai.azure.com/openai/v1
            base_url="",
            paths={**_OPENAI_PATHS, "responses": "/responses"},
            auth="api-key",
            forward=frozenset({"openai-beta", "idempotency-key"}),
            passes={**_OPENAI_PASSES, "response_tokens": "/responses/input_tokens"},
            # Names of deployments, which are mostly called as their models.
            only={"completions": _OPENAI_COMPLETION_MODELS},
        ),
        Kind(
            name="mistral",
            label="Mistral",
            base_url="https://api.mistral.ai/v1",
            paths={"chat": "/chat/completions", "embeddings": "/embeddings"},
            auth="bearer",
            passes={"moderations": "/moderations", "transcriptions": "/audio/transcriptions"},
            # Its last chunk always has the usage, and a body with stream_options is a 422.
            stream_usage=False,
        ),
        Kind(
            name="sandbox",
            label="Sandbox (built in, answers by itself, for first steps)",
            base_url="sandbox://local",
            paths={"chat": "/chat/completions", "embeddings": "/embeddings"},
            auth="none",
            transport="sandbox",
            needs_credential=False,
        ),
    )
}
