"""Two pairs in a row, for a client and a provider that have no pair of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

from dialects.capabilities import capabilities_of, resolve
from dialects.errors import GatewayError
from dialects.parts import Losses
from dialects.types import Dialect, Event, JsonObject, ModelFacts, TellsFailure, Translator

# The dialect between is only a form on the way: whatever it can say goes on, and what the provider's model
# cannot do is for the second pair to decide. So the first sees a model of unknown make.
_EVERYTHING = capabilities_of("")
# Save for marks, which it can say only of models that know them.
_OF_THE_MODEL = frozenset({"cache_breakpoints"})


class Outer(Translator, Protocol):
    """A pair that can stand before another: it knows its client's words for what it wrote."""

    def client_words(self, text: str) -> str:
        """A text that names fields of the body between, with the client's own names for them."""
        ...


class Composed:
    """Client's dialect to `middle` by `outer`, `middle` to the provider's by `inner`; a stream's frames of
    `inner` are read again in memory."""

    def __init__(self, outer: Callable[[], Outer], middle: Dialect, inner: Callable[[], Translator]) -> None:
        self._outer = outer()
        self._inner = inner()
        self._framer = middle.framer()
        self._losses = Losses()
        self.dropped: list[str] = self._losses

    def request(self, body: JsonObject, model: ModelFacts) -> JsonObject:
        caps = _EVERYTHING | (resolve(model) & _OF_THE_MODEL)
        between = self._outer.request(body, replace(model, capabilities=caps))
        # The first pair reads the counts wherever the second has them.
        between = {**between, "stream_options": {"include_usage": True}}
        words = self._outer.client_words
        try:
            out = self._inner.request(between, model)
        except GatewayError as error:
            param = error.detail.param
            detail = replace(error.detail, param=words(param) if param else None)
            raise GatewayError(error.fault, words(error.message), detail) from None
        for name in (*self._outer.dropped, *map(words, self._inner.dropped)):
            self._losses.note(name)
        return out

    def response(self, body: JsonObject) -> JsonObject:
        return self._outer.response(self._inner.response(body))

    def event(self, event: Event) -> bytes:
        return self._carry(self._framer.feed(self._inner.event(event)))

    def finish(self) -> bytes:
        return self._carry(self._framer.feed(self._inner.finish())) + self._outer.finish()

    def fail(self, error: GatewayError, request_id: str) -> bytes | None:
        outer = self._outer
        return outer.fail(error, request_id) if isinstance(outer, TellsFailure) else None

    def _carry(self, events: Iterable[Event]) -> bytes:
        return b"".join(map(self._outer.event, events))
