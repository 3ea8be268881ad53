"""What an answer says of itself, read for traces: its id, its model, and why it ends. Never its content."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct, field

from dialects.types import Event, JsonObject

# Providers make them up; real ones are shorter.
_MAX_TEXT = 200
# A choice each; nobody asks for more.
_MAX_ENDS = 128


class AnswerFacts(Struct):
    """Notes of one answer in `dialect`, whole or event by event. A field that is missing or odd stays "".
    `ends`: by the number of the choice, in the provider's words."""

    dialect: str
    id: str = ""
    model: str = ""
    ends: dict[int, str] = field(default_factory=dict)

    def see(self, event: Event) -> None:
        """Take note of an event that the dialect's tap has accepted."""
        if self.dialect in _STREAMED and event.data and event.data != b"[DONE]":
            self.take(event.json())

    def take(self, said: Any) -> None:
        """Take note of a whole answer, or of what an event holds. Whatever it is, nothing is raised."""
        read = _STREAMED.get(self.dialect, _names)
        try:
            read(self, said)
        except (AttributeError, TypeError, KeyError):
            # Odd, and no reason to fail: who answers the client has judged it already.
            return

    def name(self, said: JsonObject) -> None:
        """Keep id and model."""
        self.id = self.id or _text(said.get("id"))
        self.model = self.model or _text(said.get("model"))

    def end(self, number: Any, reason: Any) -> None:
        """Keep why a choice ends."""
        text = _text(reason)
        if text and type(number) is int and len(self.ends) < _MAX_ENDS:
            self.ends[number] = text


def _text(value: Any) -> str:
    return value[:_MAX_TEXT] if type(value) is str else ""


def _names(facts: AnswerFacts, said: JsonObject) -> None:
    facts.name(said)


def _choices(facts: AnswerFacts, said: JsonObject) -> None:
    if not facts.model:
        facts.name(said)
    for choice in said.get("choices") or ():
        if choice.get("finish_reason"):
            facts.end(choice.get("index", 0), choice["finish_reason"])


def _message(facts: AnswerFacts, said: JsonObject) -> None:
    kind = said.get("type")
    if kind == "message_start":
        facts.name(said["message"])
    elif kind == "message_delta":
        facts.end(0, said["delta"].get("stop_reason"))
    elif kind == "message":
        facts.name(said)
        facts.end(0, said.get("stop_reason"))


def _response(facts: AnswerFacts, said: JsonObject) -> None:
    response = said if said.get("object") == "response" else said.get("response")
    if not response:
        return
    facts.name(response)
    status = response.get("status")
    if status not in (None, "in_progress", "queued"):
        facts.end(0, (response.get("incomplete_details") or {}).get("reason") or status)


def _ollama(facts: AnswerFacts, said: JsonObject) -> None:
    facts.name(said)
    if said.get("done"):
        facts.end(0, said.get("done_reason"))


_STREAMED: Mapping[str, Callable[[AnswerFacts, JsonObject], None]] = {
    "chat": _choices,
    "completions": _choices,
    "messages": _message,
    "responses": _response,
    "ollama_chat": _ollama,
    "ollama_generate": _ollama,
}
