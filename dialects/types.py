"""The words that every room shares about a request: facts, usage, events, and what a dialect can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import orjson
from msgspec import Struct

from dialects.errors import UPSTREAM_BAD, Detail, Family, GatewayError

JsonObject = dict[str, Any]
Framing = Literal["sse", "ndjson"]


class Facts(Struct, frozen=True, gc=False):
    """What policies may know of a request: never its text.

    `max_tokens` is the client's cap on output tokens; `prompt_chars` a rough size from which input tokens
    are estimated; `needs` names the capabilities without which a target cannot serve it
    ("tools", "vision", "audio", "documents", "json_schema", "reasoning", "embeddings", "insert" for text
    before a suffix). `one_prompt`: all of the prompt stands in one context, which a model's must be large
    enough for; a list of texts to embed does not.
    """

    model: str
    stream: bool = False
    max_tokens: int | None = None
    n: int = 1
    include_usage: bool = False
    prompt_chars: int = 0
    end_user: str | None = None
    needs: frozenset[str] = frozenset()
    one_prompt: bool = False


class Usage(Struct, frozen=True, gc=False):
    """Tokens of one call. `input_tokens` is the whole prompt, cached parts included; the details are parts
    of it (`cache_read`, `cache_write`) or of the output (`reasoning`). `source` says who counted."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    source: Literal["provider", "estimated"] = "provider"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of an upstream model: its name there, limits in tokens (None: unknown), capabilities."""

    name: str
    context_window: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[str] = frozenset()


class Event(Struct):
    """One event of an upstream stream: `name` (SSE event field, "" when absent), its `data`, and the `raw`
    bytes it came in, terminator included, so that it can go on untouched."""

    name: str
    data: bytes
    raw: bytes
    _json: Any = None

    def json(self) -> Any:
        """The data parsed once and shared by the tap and the translator. Not JSON: GatewayError."""
        if self._json is None:
            try:
                self._json = orjson.loads(self.data)
            except ValueError:
                raise GatewayError(
                    UPSTREAM_BAD,
                    "The provider sent an event that is not valid JSON.",
                    Detail(code="upstream_invalid_response"),
                ) from None
        return self._json


class Framer(Protocol):
    """Cuts a byte stream into events, however it was segmented."""

    def feed(self, data: bytes) -> list[Event]:
        """The events that are complete after `data`. An event over the cap raises GatewayError."""
        ...

    def pending(self) -> bool:
        """True when bytes of an unfinished event are held: at EOF that is a truncation."""
        ...


class StreamTap(Protocol):
    """Reads a stream of its own dialect as it passes, and changes nothing.

    `usage`: the latest known; `content`: a first content (text, tool call, reasoning, refusal) was seen;
    `finished`: the terminal event was seen; `output_chars`: characters of content seen, for estimates.
    """

    usage: Usage | None
    content: bool
    finished: bool
    output_chars: int

    def see(self, event: Event) -> None:
        """Take note of one event. An in-stream error of the provider is raised as GatewayError."""
        ...

    def keep(self, event: Event) -> bool:
        """False for an event that the client did not ask for (the usage chunk that the gateway asked for)."""
        ...


class Dialect(Protocol):
    """One wire format. It reads and never rewrites."""

    @property
    def name(self) -> str: ...

    @property
    def family(self) -> Family: ...

    @property
    def framing(self) -> Framing: ...

    def facts(self, body: JsonObject) -> Facts:
        """Check a client's body as far as the gateway relies on it (types of known fields; unknown fields
        pass) and read its facts. Raises GatewayError (400) that names the field."""
        ...

    def usage(self, body: JsonObject) -> Usage | None:
        """Usage of a complete (not streamed) answer in this dialect; None where it says nothing."""
        ...

    def is_answer(self, body: JsonObject) -> bool:
        """True when this JSON object is a whole, well-formed answer in this dialect."""
        ...

    def framer(self) -> Framer: ...

    def tap(self, *, strip_usage: bool) -> StreamTap:
        """A tap for one stream; `strip_usage`: the client did not ask for the usage chunk."""
        ...

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        """An upstream's error reply as a GatewayError: status mapped, message redacted, code kept."""
        ...

    def error_event(self, error: GatewayError, request_id: str) -> bytes:
        """The error as the last bytes of a stream that has begun, in this client's form, where nothing is
        known of what went before. No terminator that would make the stream look complete."""
        ...


class Translator(Protocol):
    """One attempt across one pair of dialects; a stream's state lives here.

    `dropped` names the client's fields that could not travel, in the client's words.
    """

    dropped: list[str]

    def request(self, body: JsonObject, model: ModelFacts) -> JsonObject:
        """The upstream's body. `body` is never mutated. Content that cannot travel: GatewayError (400)."""
        ...

    def response(self, body: JsonObject) -> JsonObject:
        """A whole upstream answer in the client's dialect."""
        ...

    def event(self, event: Event) -> bytes:
        """The client's frames for one upstream event, b"" for none."""
        ...

    def finish(self) -> bytes:
        """The client's closing frames, called once after the upstream's terminal event."""
        ...


@runtime_checkable
class TellsFailure(Protocol):
    """A tap or a translator of a stream whose last words depend on what went before."""

    def fail(self, error: GatewayError, request_id: str) -> bytes | None:
        """The error as the last bytes for a client that has had everything so far, without a terminator that
        would make the stream look complete. None where the dialect's `error_event` says it all."""
        ...
