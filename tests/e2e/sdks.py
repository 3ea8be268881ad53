"""The official SDKs pointed at one gateway, blocking and async, and the providers asked through them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import anthropic
import openai

from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.upstream import mind
from tests.support.upstream.anthropic_answers import messages_prompt
from tests.support.upstream.ollama_answers import _chat_prompt as ollama_prompt
from tests.support.upstream.openai_answers import chat_prompt
from tests.support.upstream.wire import Received

Kind = Literal["openai", "anthropic", "ollama"]
Result = TypeVar("Result")

KINDS: tuple[Kind, ...] = ("openai", "anthropic", "ollama")
# What each provider is asked for unless a test needs another one of its models.
MODELS: dict[Kind, str] = {"openai": "gpt-4o-mini", "anthropic": "claude-opus-4-5", "ollama": "llama3.2"}
PATHS: dict[Kind, str] = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "ollama": "/api/chat",
}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
# Not ASCII, beyond the basic plane, a joined emoji, and what text decoders take for ends of lines.
ODD = 'žluťoučký 🐎 👩‍🚀 \u2028next\u2029and\u0085last \\ "quoted" \t[DONE]'


class Sdks:
    """The four clients. They never retry: what the gateway says the first time is what counts."""

    def __init__(self, url: str, key: str) -> None:
        self._runner = asyncio.Runner()
        self.openai = openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0)
        self.anthropic = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)
        self.async_openai = openai.AsyncOpenAI(base_url=url + "/v1", api_key=key, max_retries=0)
        self.async_anthropic = anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0)

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """The result of what an async client does."""
        return self._runner.run(coroutine)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.openai.close()
        self.anthropic.close()
        self.run(self.async_openai.close())
        self.run(self.async_anthropic.close())
        self._runner.close()


@dataclass(frozen=True, slots=True)
class Stage:
    """What a test has: the SDKs, the gateway that they talk to, and the upstream behind it."""

    sdks: Sdks
    gateway: LiveGateway
    fake: FakeUpstream

    @property
    def last(self) -> Received:
        """What the provider received last; it accepted it and understood every field."""
        last = self.fake.last
        assert last.refusal is None
        # Ollama itself reads `tool_name`, the newer servers the id too.
        assert [name for name in last.ignored if not name.endswith("tool_call_id")] == []
        return last

    @property
    def sent(self) -> dict[str, Any]:
        """The JSON of that."""
        body: dict[str, Any] = self.last.json
        return body


def prompt_tokens(received: Received) -> int:
    """How many tokens the provider counts for this prompt."""
    readers = {"/v1/chat/completions": chat_prompt, "/v1/messages": messages_prompt}
    if received.path == "/api/chat":
        prompt = ollama_prompt(received.json, received.json["messages"])
    else:
        prompt = readers[received.path](received.json)
    return mind.tokens(prompt.text)
