"""The providers' side of the matrix: who speaks each dialect, which models stand for it, how it fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dialects.table import TRANSLATORS
from providers.kinds import KINDS
from routing.snapshot import Target
from tests.e2e.matrix.scenarios import REASONING, STREAMING
from tests.support.live_gateway import LiveGateway
from tests.support.upstream.script import Answer, Close, Reset, Send, Step, encoded, sse


@dataclass(frozen=True, slots=True)
class Upstream:
    """One dialect as a provider that speaks no other. `model`: the one asked, with `instead` of it in some
    scenarios; `also`: what a client must ask besides to be served by it."""

    kind: str
    model: str
    instead: Mapping[str, str] = field(default_factory=dict)
    also: Mapping[str, Any] = field(default_factory=dict)

    def model_for(self, scenario: str) -> str:
        return self.instead.get(scenario, self.model)


UPSTREAMS: Mapping[str, Upstream] = {
    "chat": Upstream("openai", "gpt-4o", dict.fromkeys(REASONING, "gpt-5")),
    "responses": Upstream("openai", "gpt-4o", dict.fromkeys(REASONING, "gpt-5.5")),
    "messages": Upstream("anthropic", "claude-sonnet-4-5"),
    "completions": Upstream("openai", "gpt-3.5-turbo-instruct"),
    "embeddings": Upstream("openai", "text-embedding-3-small"),
    "ollama_chat": Upstream(
        "ollama", "llama3.2", {**dict.fromkeys(REASONING, "qwen3"), "image": "llama3.2-vision"}
    ),
    "ollama_generate": Upstream("ollama", "qwen2.5-coder", also={"suffix": "!"}),
    "ollama_embed": Upstream("ollama", "nomic-embed-text"),
}
CLIENTS = ("chat", "messages", "responses", "completions", "embeddings")
# Every cell: the table's pairs, and each client's own dialect.
PAIRS = tuple(sorted({*TRANSLATORS, *((client, client) for client in CLIENTS)}))


def target(gateway: LiveGateway, upstream: str, scenario: str) -> Target:
    """The only target of the gateway: the provider of this dialect and the model for the scenario."""
    row = UPSTREAMS[upstream]
    kind = KINDS[row.kind]
    only = replace(kind, paths={upstream: kind.paths[upstream]}, only={})
    provider = replace(gateway.provider(row.kind), kind=only)
    return Target(id=1, provider=provider, upstream_model=row.model_for(scenario))


def refusal(upstream: str, message: str, word: str, code: str | None = None) -> Any:
    """An error as this provider writes it."""
    kind = UPSTREAMS[upstream].kind
    if kind == "ollama":
        return {"error": message}
    if kind == "anthropic":
        return {"type": "error", "error": {"type": word, "message": message}}
    return {"error": {"message": message, "type": word, "param": None, "code": code}}


_KEY = "sk-proj-0123456789abcdef at http://10.0.0.7/v1"
# Each class of error: status, message, the provider's type and code, and its headers.
ERRORS: Mapping[str, tuple[int, str, str, str | None, Mapping[str, str]]] = {
    "400": (400, "No such thing.", "invalid_request_error", None, {}),
    "context length": (
        400,
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.",
        "invalid_request_error",
        "context_length_exceeded",
        {},
    ),
    "401": (401, f"Incorrect API key provided: {_KEY}.", "authentication_error", "invalid_api_key", {}),
    "402": (402, "Pay first.", "billing_error", None, {}),
    "403": (403, f"Not allowed: {_KEY}.", "permission_error", None, {}),
    "404": (404, "The model 'x' was not found.", "not_found_error", "model_not_found", {}),
    "408": (408, "Too slow.", "timeout_error", None, {}),
    "413": (413, "Too large.", "request_too_large", None, {}),
    "422": (422, "Cannot be processed.", "invalid_request_error", None, {}),
    "429": (429, "Slow down.", "rate_limit_error", "rate_limit_exceeded", {"retry-after": "7"}),
    "429 without a word of when": (429, "Slow down.", "rate_limit_error", None, {}),
    "500": (500, f"Oops at {_KEY}.", "api_error", "server_error", {}),
    "502": (502, "Bad gateway.", "api_error", None, {}),
    "503": (503, "Server busy.", "overloaded_error", None, {"retry-after-ms": "1500"}),
    "504": (504, "Too slow.", "timeout_error", None, {}),
    "529": (529, "Overloaded.", "overloaded_error", None, {}),
}

Fault = Callable[[str], Sequence[Step]]


def _error_event(upstream: str, word: str) -> bytes:
    said = refusal(upstream, f"Stopped at {_KEY}.", word)
    if UPSTREAMS[upstream].kind == "ollama":
        return encoded(said) + b"\n"
    if upstream == "messages":
        return sse(("error", said))
    if upstream == "responses":
        event = {"type": "error", "code": word, "message": "Stopped.", "param": None, "sequence_number": 9}
        return sse(("error", event))
    return sse(said)


def _no_json(upstream: str) -> bytes:
    return b'{"x\n' if UPSTREAMS[upstream].kind == "ollama" else b'data: {"x\n\n'


# How a stream fails when some of it is there.
FAULTS: Mapping[str, Fault] = {
    "stream: error of the server": lambda upstream: [Send(_error_event(upstream, "server_error"))],
    "stream: overloaded": lambda upstream: [Send(_error_event(upstream, "overloaded_error"))],
    "stream: no JSON": lambda upstream: [Send(_no_json(upstream))],
    "stream: ends too early": lambda _: [],
    "stream: closed": lambda _: [Close()],
    "stream: reset": lambda _: [Reset()],
}
# How many events of an answer come before the fault: all dialects have said something by then.
BEFORE = 8


def first(upstream: str) -> Sequence[Step]:
    """A stream whose first event is an error: no content is before it."""
    leading = 1 if upstream in ("chat", "messages", "responses") else 0
    return [Answer(events=leading), Send(_error_event(upstream, "server_error"))]


def streams(client: str) -> bool:
    return client in STREAMING
