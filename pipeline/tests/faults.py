"""What the tables of upstream faults are made of: scripts per provider, and what a client must see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from providers.kinds import KINDS
from providers.wire import Timeouts
from routing.snapshot import Provider
from tests.support.fake_upstream import FakeUpstream, Match
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import Answer, Pair
from tests.support.upstream.script import Json, Ndjson, Sse, Step

# What must never reach a client: provider keys, where providers live, and their own internals.
SECRETS = ("sk-openai-0123456789", "sk-anthropic-0123456789", "10.11.12.13", "internal.example", "127.0.0.1")
LEAKY = (
    "Incorrect API key provided: sk-openai-0123456789 or sk-anthropic-0123456789. "
    "See http://10.11.12.13:8000/v1 or https://internal.example/keys."
)
SHORT = Timeouts(connect=0.2, first_byte=0.1, first_byte_stream=0.1, idle=0.1, total=20)


@dataclass(frozen=True, slots=True)
class Told:
    """How a fault is told: status and error type per surface, and whether an SDK should try again."""

    status: int
    openai: str
    anthropic: str
    again: str = "false"
    anthropic_status: int = 0

    def of(self, surface: str) -> tuple[int, str]:
        if surface == "messages":
            return self.anthropic_status or self.status, self.anthropic
        return self.status, self.openai


BAD = Told(502, "upstream_error", "api_error")
LATE = Told(504, "upstream_error", "timeout_error")
RATE = Told(429, "rate_limit_error", "rate_limit_error", "true")
BUDGET = Told(429, "insufficient_quota", "billing_error", anthropic_status=402)
BUSY = Told(503, "server_error", "overloaded_error", "true", anthropic_status=529)


def request_fault(status: int, anthropic: str = "invalid_request_error") -> Told:
    """A refusal of the request itself, whose status is kept."""
    return Told(status, "invalid_request_error", anthropic)


def check_refused(answer: Answer, told: Told, code: str) -> dict[str, Any]:
    """The reply is this error, whole, in the surface's form, and gives nothing away. The error object."""
    status, kind = told.of(answer.surface)
    assert answer.status == status
    error = answer.error()
    assert error["type"] == kind
    if answer.surface != "messages":
        assert error["code"] == code
    assert answer.header("x-should-retry") == told.again
    check_no_secret(answer.raw)
    return error


def check_no_secret(raw: bytes) -> None:
    text = raw.decode("utf-8", "replace")
    assert not [secret for secret in SECRETS if secret in text]


def error_json(pair: Pair, kind: str = "server_error", message: str = LEAKY) -> Any:
    """An error object as the pair's provider writes it."""
    if pair.upstream == "ollama":
        return {"error": message}
    if pair.upstream == "messages":
        return {"type": "error", "error": {"type": kind, "message": message}}
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def error_event(pair: Pair, kind: str = "server_error") -> Any:
    """The same within a stream."""
    if pair.upstream == "responses":
        return {"type": "error", "error": {"type": kind, "code": None, "message": LEAKY, "param": None}}
    return error_json(pair, kind)


def stream_of(pair: Pair, events: Sequence[Any]) -> Step:
    """The beginning of a stream in the pair's provider's framing."""
    if pair.upstream == "ollama":
        return Ndjson(events)
    if pair.upstream in ("messages", "responses"):
        return Sse([(event.get("type", ""), event) if type(event) is dict else event for event in events])
    return Sse(events)


def alone(live: LiveGateway, pair: Pair, **changes: Any) -> Provider:
    """Serve the pair's model by one provider only, with these changes."""
    provider = replace(served(live, pair), **changes)
    live.use(live.snapshot([live.route("*", provider)]))
    return provider


def two(live: LiveGateway, pair: Pair, **changes: Any) -> None:
    """Serve the pair's model by `first`, with these changes, and after it by `second`, which works. Both
    are at the fake, under their names."""
    first = named(live, pair, "first")
    second = named(live, pair, "second")
    live.use(live.snapshot([live.route("*", replace(first, **changes), second)]))


# The dialects that a provider may be asked in.
_SPOKEN = {"ollama": ("ollama_chat",)}


def served(live: LiveGateway, pair: Pair) -> Provider:
    """A provider of the pair's kind that is asked only in the dialect of its upstream."""
    kind = KINDS[pair.kind]
    spoken = _SPOKEN.get(pair.upstream, (pair.upstream,))
    paths = {name: path for name, path in kind.paths.items() if name in spoken}
    return replace(live.provider(pair.kind), kind=replace(kind, paths=paths, only={}))


def named(live: LiveGateway, pair: Pair, name: str, **changes: Any) -> Provider:
    """A provider of the pair's kind at the fake under a path of its own."""
    url = live.fake.named(name) + ("" if pair.upstream in ("messages", "ollama") else "/v1")
    provider = served(live, pair)
    # A secret of its own: what one provider says of it is no word on another's.
    keys = tuple(replace(key, id=sum(name.encode())) for key in provider.credentials)
    return replace(provider, **({"name": name, "base_url": url, "credentials": keys} | changes))


Steps = Callable[[Pair], Sequence[Step]]


def answers(fake: FakeUpstream, pair: Pair, steps: Steps, at: str = "") -> None:
    """Let the fake answer by these steps, where given only under one provider's path."""
    fake.script(Match(path=f"/{at}/" if at else pair.path), steps(pair))


def whole_error(status: int, kind: str = "server_error", **headers: str) -> Steps:
    """An error reply of this status in the provider's envelope."""
    return lambda pair: [
        Json(status, error_json(pair, kind), {k.replace("_", "-"): v for k, v in headers.items()})
    ]
