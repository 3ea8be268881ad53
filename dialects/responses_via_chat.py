"""The pair for a client of responses and a provider of chat completions."""

from __future__ import annotations

import re

from dialects.capabilities import resolve
from dialects.errors import GatewayError
from dialects.parts import invalid_answer
from dialects.responses_via_chat_request import Plan, RequestBuilder, echo
from dialects.responses_via_chat_stream import ResponseEvents
from dialects.types import Event, JsonObject, ModelFacts

# Fields of chat completions by their names here.
_WORDS = {
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
    "logprobs": "top_logprobs",
    "messages": "input",
    "messages.reasoning_content": "input.reasoning",
    "tools.function": "tools",
}
_WORD = re.compile(
    r"messages\[(\d+)\]|(?<![\w.])(?:messages\.reasoning_content|tools\.function|max_completion_tokens|max_tokens"
    r"|reasoning_effort|response_format|verbosity|logprobs|messages)(?![\w\[])"
)


class ResponsesViaChat:
    """Translator. An instance serves one attempt.

    `between`: the messages go to another pair, which understands what chat completions themselves cannot say:
    signed thinking above all. Without it a provider's strict reader would refuse them.
    """

    def __init__(self, *, between: bool = False) -> None:
        self._plan = Plan(between=between)
        self.dropped: list[str] = self._plan.losses
        self._asked: JsonObject = {}
        self._model = ""
        self._events: ResponseEvents | None = None

    def request(self, body: JsonObject, model: ModelFacts) -> JsonObject:
        self._model = model.name
        self._asked = echo(body)
        return RequestBuilder(body, model, resolve(model), self._plan).build()

    def response(self, body: JsonObject) -> JsonObject:
        # The same state as a stream's: both ways come to the same response.
        events = ResponseEvents(self._plan, self._asked, self._model)
        try:
            choice = body["choices"][0]
            message = dict(choice["message"])
            calls = enumerate(message.get("tool_calls") or ())
            message["tool_calls"] = [{**call, "index": index} for index, call in calls]
            events.chunk({**body, "choices": [{**choice, "index": 0, "delta": message}]})
            events.finish()
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            raise invalid_answer() from None
        return events.response

    def event(self, event: Event) -> bytes:
        data = event.data
        if not data or data == b"[DONE]":
            return b""
        try:
            return self._stream().chunk(event.json())
        except (AttributeError, IndexError, KeyError, TypeError):
            raise invalid_answer() from None

    def finish(self) -> bytes:
        return self._stream().finish()

    def fail(self, error: GatewayError, request_id: str) -> bytes:
        """The response as failed, under its own id and with the next number."""
        return self._stream().fail(error, request_id)

    def client_words(self, text: str) -> str:
        """A text about the messages that this pair made, in the words of the client's own body."""
        return _WORD.sub(self._client_word, text)

    def _client_word(self, found: re.Match[str]) -> str:
        index = found[1]
        if index is None:
            return _WORDS[found[0]]
        origins = self._plan.origins
        # A provider's own counting may differ.
        return origins[int(index)] if int(index) < len(origins) else "input"

    def _stream(self) -> ResponseEvents:
        if self._events is None:
            self._events = ResponseEvents(self._plan, self._asked, self._model)
        return self._events
