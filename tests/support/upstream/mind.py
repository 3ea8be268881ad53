"""The model behind all three fakes: deterministic, it answers from the last user message.

Lines of the last user message that it obeys (all others it echoes):

- ``call:NAME {json}``  call that tool, if it was offered; several lines are parallel calls
- ``say:TEXT``          answer exactly TEXT
- ``think:TEXT``        think TEXT, where the request asks for thinking
- ``redact:``           think in a redacted block, where the provider has those
- ``refuse:TEXT``       decline, explaining TEXT
- ``count:N``           answer the words "word1 word2 … wordN"

After tool results it quotes them. A forced tool is called with arguments made from its schema; asked for
JSON by a schema, it answers an instance of the schema. One token is four characters, begun ones count; a
system prompt, every message and every tool's definition count.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.support.upstream.schemas import instance

Finish = Literal["stop", "length", "tool", "stop_sequence", "refusal"]
_LINE = re.compile(r"^(call|say|think|redact|refuse|count):[ ]?(.*)$", re.MULTILINE)
_CUTS = (
    1,
    4,
    2,
    7,
    3,
    5,
)  # sizes of streamed pieces: small and uneven, so that no reader can lean on their borders


def tokens(text: str) -> int:
    """The token rule of the fake: one per four characters, begun ones count."""
    return -(-len(text) // 4)


def pieces(text: str) -> Iterator[str]:
    """The text as a stream cuts it: never inside a character, often inside a word or an escape."""
    at, turn = 0, 0
    while at < len(text):
        size = _CUTS[turn % len(_CUTS)]
        yield text[at : at + size]
        at, turn = at + size, turn + 1


def stable_id(prefix: str, *parts: object, length: int = 24) -> str:
    """An id that is the same for the same parts."""
    return prefix + hashlib.sha256(repr(parts).encode()).hexdigest()[:length]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is asked, whatever the dialect. `choice`: "auto", "none", "any", or "tool:NAME".
    `schema`: answer an instance of it. `prefill` is the beginning of the answer."""

    model: str
    user: str
    text: str
    results: Sequence[str] = ()
    tools: Mapping[str, Any] = field(default_factory=dict)
    choice: str = "auto"
    parallel: bool = True
    schema: Any = None
    think: bool = False
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    prefill: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call; `arguments` is the JSON text, as the model wrote it (it may be no JSON at all)."""

    id: str
    name: str
    arguments: str

    def parsed(self) -> dict[str, Any]:
        try:
            value = json.loads(self.arguments)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


@dataclass(slots=True)
class Thought:
    """A whole answer. Tokens by the rule above; `reasoning_tokens` are part of `output_tokens`."""

    text: str = ""
    thinking: str = ""
    redacted: bool = False
    calls: list[Call] = field(default_factory=list)
    finish: Finish = "stop"
    stopped_by: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


def answer(prompt: Prompt) -> Thought:
    """What the model says to this prompt."""
    orders = [(found[1], found[2]) for found in _LINE.finditer(prompt.user)]
    said = Thought(input_tokens=max(1, tokens(prompt.text)))
    if prompt.think:
        said.thinking = next((text for word, text in orders if word == "think"), f"They said: {prompt.user}")
        said.redacted = any(word == "redact" for word, _ in orders)
    if not prompt.results:
        said.calls = _calls(prompt, orders)
    if said.calls:
        said.finish = "tool"
    else:
        said.text, said.finish = _text(prompt, orders)
        _cut(said, prompt)
    said.reasoning_tokens = tokens(said.thinking)
    written = "".join(call.name + call.arguments for call in said.calls)
    said.output_tokens = said.reasoning_tokens + tokens(said.text + written)
    return said


def _calls(prompt: Prompt, orders: list[tuple[str, str]]) -> list[Call]:
    if prompt.choice == "none" or not prompt.tools:
        return []
    only = prompt.choice.removeprefix("tool:") if prompt.choice.startswith("tool:") else None
    asked = [text.partition(" ") for word, text in orders if word == "call"]
    wanted = [
        (name, text or "{}") for name, _, text in asked if name in prompt.tools and only in (None, name)
    ]
    if not wanted and prompt.choice != "auto":
        name = only or next(iter(prompt.tools))
        wanted = [(name, json.dumps(instance(prompt.tools.get(name)) or {}))]
    wanted = wanted if prompt.parallel else wanted[:1]
    return [Call(stable_id("", prompt.text, k), name, text) for k, (name, text) in enumerate(wanted)]


def _text(prompt: Prompt, orders: list[tuple[str, str]]) -> tuple[str, Finish]:
    for word, text in orders:
        if word == "refuse":
            return text, "refusal"
        if word == "say":
            return text, "stop"
        if word == "count":
            return " ".join(f"word{k}" for k in range(1, int(text) + 1)), "stop"
    if prompt.schema is not None:
        return json.dumps(instance(prompt.schema)), "stop"
    if prompt.results:
        return "The tool said: " + " | ".join(prompt.results), "stop"
    if prompt.prefill:
        return f" (continued) {prompt.user}", "stop"
    return f"Hello from {prompt.model}. You said: {prompt.user}", "stop"


def _cut(said: Thought, prompt: Prompt) -> None:
    """Apply stop sequences, then the cap on tokens; thinking counts first."""
    found = [(said.text.find(stop), stop) for stop in prompt.stop if stop and stop in said.text]
    if found:
        at, said.stopped_by = min(found)
        said.text, said.finish = said.text[:at], "stop_sequence"
    if prompt.max_tokens is not None:
        room = max(0, prompt.max_tokens - tokens(said.thinking))
        if tokens(said.text) > room:
            said.text, said.finish, said.stopped_by = said.text[: room * 4], "length", None


def vector(text: str, width: int) -> list[float]:
    """A vector of `width` numbers that depends on the text alone, in numbers that float32 holds exactly."""
    seed = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    raw = [(seed[k % 32] - 127 + k % 5) / 128 for k in range(width)]
    return [round(value * 64) / 64 for value in raw]
