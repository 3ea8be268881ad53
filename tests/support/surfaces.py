"""How tests speak with a gateway on a socket, on either surface, and what they read of its bytes."""

from __future__ import annotations

import http.client
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from tests.support.live_gateway import LiveGateway

Name = Literal["chat", "messages", "responses", "completions"]
# The text that the fake answers to `count:9`, over more than a dozen pieces.
PROMPT = "count:9"
TEXT = " ".join(f"word{number}" for number in range(1, 10))
_PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Pair:
    """A client's surface and the provider behind it. `leading`: how many events of its stream have no
    content yet."""

    surface: Name
    kind: str
    model: str
    upstream: Literal["chat", "messages", "responses", "completions", "ollama"]
    leading: int

    @property
    def same(self) -> bool:
        """Client and provider speak the same dialect."""
        return self.surface == self.upstream

    @property
    def path(self) -> str:
        """Where the gateway asks the provider."""
        return {
            "chat": "/chat/completions",
            "messages": "/v1/messages",
            "responses": "/responses",
            "completions": "/completions",
            "ollama": "/api/chat",
        }[self.upstream]

    def __str__(self) -> str:
        kind = self.kind if self.upstream != "responses" else f"{self.kind}_responses"
        return f"{self.surface}-{kind}"


CHAT_OPENAI = Pair("chat", "openai", "gpt-4o", "chat", 1)
CHAT_ANTHROPIC = Pair("chat", "anthropic", "claude-opus-4-5", "messages", 3)
CHAT_OLLAMA = Pair("chat", "ollama", "llama3.2", "ollama", 0)
MESSAGES_ANTHROPIC = Pair("messages", "anthropic", "claude-opus-4-5", "messages", 3)
MESSAGES_OPENAI = Pair("messages", "openai", "gpt-4o", "chat", 1)
MESSAGES_OLLAMA = Pair("messages", "ollama", "llama3.2", "ollama", 0)
PAIRS = (CHAT_OPENAI, CHAT_ANTHROPIC, CHAT_OLLAMA, MESSAGES_ANTHROPIC, MESSAGES_OPENAI, MESSAGES_OLLAMA)
# Which of its dialects a provider of the kind openai is to speak is the route's choice: see `faults.served`.
OTHER_PAIRS = (
    Pair("chat", "openai", "gpt-4o", "responses", 4),
    Pair("messages", "openai", "gpt-4o", "responses", 4),
    Pair("responses", "openai", "gpt-4o", "responses", 4),
    Pair("responses", "openai", "gpt-4o", "chat", 1),
    Pair("responses", "anthropic", "claude-opus-4-5", "messages", 3),
    Pair("responses", "ollama", "llama3.2", "ollama", 0),
    Pair("completions", "openai", "gpt-3.5-turbo-instruct", "completions", 0),
    Pair("completions", "openai", "gpt-4o", "responses", 4),
    Pair("completions", "openai_compatible", "gpt-4o", "chat", 1),
    Pair("completions", "anthropic", "claude-opus-4-5", "messages", 3),
    Pair("completions", "ollama", "llama3.2", "ollama", 0),
)


@dataclass(slots=True)
class Answer:
    """What a client received: `raw` is the whole body. A body that ended before its framing said so raises
    in `ask` already."""

    surface: Name
    status: int
    headers: list[tuple[str, str]]
    raw: bytes
    events: list[tuple[str, Any]] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def json(self) -> Any:
        return orjson.loads(self.raw)

    @property
    def streamed(self) -> bool:
        return (self.header("content-type") or "").startswith("text/event-stream")

    @property
    def text(self) -> str:
        """What the model said, of a whole answer or of a stream's deltas."""
        if not self.streamed:
            return whole_text(self.surface, self.json)
        return "".join(_delta(self.surface, data) for _, data in self.events)

    @property
    def complete(self) -> bool:
        """The stream says that it has come to its end."""
        if self.surface in ("chat", "completions"):
            return ("", "[DONE]") in self.events
        ends = ("message_stop", "response.completed", "response.incomplete")
        return any(name in ends for name, _ in self.events)

    @property
    def finishes(self) -> list[str]:
        """The reasons to finish that the stream gives."""
        if self.surface in ("chat", "completions"):
            choices = (c for _, data in self.events if data != "[DONE]" for c in data.get("choices", ()))
            return [c["finish_reason"] for c in choices if c.get("finish_reason")]
        if self.surface == "responses":
            return [name for name, _ in self.events if name in ("response.completed", "response.incomplete")]
        reasons = (data.get("delta", {}).get("stop_reason") for _, data in self.events)
        return [reason for reason in reasons if reason]

    @property
    def failures(self) -> list[dict[str, Any]]:
        """The errors within the stream, each checked to be in the surface's form."""
        if self.surface == "responses":
            return [self._failed(data) for name, data in self.events if name == "response.failed"]
        found = [(name, data) for name, data in self.events if type(data) is dict and "error" in data]
        return [self._failure(name, data) for name, data in found]

    def error(self) -> dict[str, Any]:
        """The error object of an error reply, its envelope checked."""
        assert self.header("content-type") == "application/json"
        return checked(self.surface, self.json)

    def _failed(self, data: dict[str, Any]) -> dict[str, Any]:
        """The error of a response that failed: one response from its beginning on, its events in sequence."""
        assert [event["sequence_number"] for _, event in self.events] == list(range(len(self.events)))
        assert data == self.events[-1][1]
        assert data["request_id"].startswith("req_")
        failed = data["response"]
        assert self.events[0][1]["response"]["id"] == failed["id"]
        assert (failed["status"], failed["incomplete_details"]) == ("failed", None)
        assert set(failed["error"]) == {"code", "message"}
        return dict(failed["error"])

    def _failure(self, name: str, data: dict[str, Any]) -> dict[str, Any]:
        assert name == ("error" if self.surface == "messages" else "")
        return checked(self.surface, data)


def checked(surface: str, body: Any) -> dict[str, Any]:
    """The error object of a body that is the surface's error envelope."""
    error = body["error"]
    assert type(error["message"]) is str
    assert error["message"]
    assert body["request_id"].startswith("req_")
    if surface == "messages":
        assert body["type"] == "error"
        assert set(error) == {"type", "message"}
    else:
        assert set(body) == {"error", "request_id"}
        assert set(error) == {"message", "type", "param", "code"}
    return dict(error)


def whole_text(surface: str, body: Any) -> str:
    """The text of a whole answer."""
    if surface == "chat":
        return str(body["choices"][0]["message"]["content"])
    if surface == "completions":
        return str(body["choices"][0]["text"])
    if surface == "responses":
        parts = (part for item in body["output"] if item["type"] == "message" for part in item["content"])
        return "".join(part["text"] for part in parts if part["type"] == "output_text")
    return "".join(block["text"] for block in body["content"] if block["type"] == "text")


def _delta(surface: str, data: Any) -> str:
    if surface == "chat":
        if data == "[DONE]" or not data.get("choices"):
            return ""
        return data["choices"][0]["delta"].get("content") or ""
    if surface == "completions":
        return "" if data == "[DONE]" else "".join(choice["text"] for choice in data.get("choices", ()))
    if surface == "responses":
        return str(data["delta"]) if data["type"] == "response.output_text.delta" else ""
    return str(data.get("delta", {}).get("text", ""))


def request_body(pair: Pair, *, stream: bool = False, **fields: Any) -> dict[str, Any]:
    """A valid request of this surface for the pair's model."""
    asked: dict[str, Any] = {"responses": {"input": PROMPT}, "completions": {"prompt": PROMPT}}
    body: dict[str, Any] = {"model": pair.model}
    body |= asked.get(pair.surface) or {"messages": [{"role": "user", "content": PROMPT}]}
    if pair.surface == "messages":
        body["max_tokens"] = 500
    if stream:
        body["stream"] = True
    return body | fields


def address(surface: str) -> str:
    return f"/v1/{surface}" if surface != "chat" else "/v1/chat/completions"


def ask(
    gateway: LiveGateway,
    pair: Pair,
    *,
    stream: bool = False,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Answer:
    """Ask the gateway and read its reply to the end. `extra`: fields whose names are no identifiers."""
    body = orjson.dumps(request_body(pair, stream=stream, **fields) | dict(extra or {}))
    status, received, raw = send(gateway, "POST", address(pair.surface), body, headers)
    answer = Answer(pair.surface, status, received, raw)
    if answer.streamed:
        answer.events = parse_events(raw)
    return answer


def send(
    gateway: LiveGateway,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, list[tuple[str, str]], bytes]:
    """One request on a connection of its own, by default with the gateway's key: status, headers, body."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=_PATIENCE)
    try:
        given = {"authorization": f"Bearer {gateway.key}"} if headers is None else dict(headers)
        if body is not None:
            given.setdefault("content-type", "application/json")
        connection.request(method, path, body, given)
        response = connection.getresponse()
        return response.status, response.getheaders(), response.read()
    finally:
        connection.close()


def parse_events(raw: bytes) -> list[tuple[str, Any]]:
    """A client's reading of an event stream: (name, data), data parsed but for `[DONE]`. Every event must be
    whole, and nothing may follow the last."""
    text = raw.decode().replace("\r\n", "\n").replace("\r", "\n")
    assert text.endswith("\n\n")
    lines = text.split("\n")
    found: list[tuple[str, Any]] = []
    for blank, group in itertools.groupby(lines, key=lambda line: line == ""):
        if blank:
            continue
        fields = [line.partition(":")[::2] for line in group]
        data = "\n".join(value.removeprefix(" ") for name, value in fields if name == "data")
        if data:
            name = next((value.removeprefix(" ") for name, value in fields if name == "event"), "")
            found.append((name, data if data == "[DONE]" else orjson.loads(data)))
    return found
