"""What the dialects have in common that answer whole and never in a stream."""

from __future__ import annotations

from collections.abc import Mapping

from dialects import sse, upstream_errors
from dialects.chat import not_a_chunk
from dialects.errors import GatewayError, envelope
from dialects.types import Event, Framer, Framing, StreamTap, Usage


class WholeAnswers:
    """The half of a Dialect that concerns streams and errors, where there are no streams: facts of such a
    dialect never ask for one, and a provider that sends one all the same is refused."""

    framing: Framing = "sse"

    def framer(self) -> Framer:
        return sse.SseFramer()

    def tap(self, *, strip_usage: bool) -> StreamTap:  # noqa: ARG002 - there is no usage chunk to strip
        return RefusingTap()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return upstream_errors.from_reply(status, headers, body)

    def error_event(self, error: GatewayError, request_id: str) -> bytes:
        return sse.frame_json(envelope("openai", error, request_id))


class RefusingTap:
    """Takes any event for what it is: nothing that this dialect knows."""

    __slots__ = ("content", "finished", "output_chars", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.content = False
        self.finished = False
        self.output_chars = 0

    def see(self, event: Event) -> None:
        if event.data:
            raise not_a_chunk()

    def keep(self, event: Event) -> bool:  # noqa: ARG002 - the protocol's signature; nothing is stripped
        return True
