"""pydantic-ai: its models of OpenAI over chat completions and responses, of OpenRouter over chat,
and of Anthropic over messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.models.openrouter import OpenRouterModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openrouter import OpenRouterProvider

from scripts.clients.frameworks.harness import (
    KEY,
    OPENAI_URL,
    PERSON_CALL,
    PROVIDERS,
    REPORTED,
    TWO_CALLS,
    URL,
    WORDS,
    Names,
    Person,
    breaks,
    check,
    client,
    fails,
    holds,
    report,
    same,
)

Make = Callable[[str], Model]


def get_weather(city: str) -> str:
    """The weather of a city."""
    return report(city)


def _openai() -> OpenAIProvider:
    return OpenAIProvider(openai_client=AsyncOpenAI(base_url=OPENAI_URL, api_key=KEY, max_retries=0))


def chat(name: str) -> Model:
    return OpenAIChatModel(name, provider=_openai())


def responses(name: str) -> Model:
    return OpenAIResponsesModel(name, provider=_openai())


def messages(name: str) -> Model:
    sdk = AsyncAnthropic(base_url=URL, api_key=KEY, max_retries=0)
    return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=sdk))


def openrouter(name: str) -> Model:
    sdk = AsyncOpenAI(base_url=OPENAI_URL, api_key=KEY, max_retries=0)
    return OpenRouterModel(name, provider=OpenRouterProvider(openai_client=sdk))


_REASONING: dict[str, dict[str, Any]] = {
    "chat": {"openai_reasoning_effort": "medium"},
    "responses": {
        "openai_reasoning_effort": "medium",
        "openai_reasoning_summary": "auto",
        "openai_store": False,
    },
    "messages": {"anthropic_thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 8000},
}


@dataclass(frozen=True, slots=True)
class Cases:
    """What is done with one provider's models on one surface."""

    surface: str
    make: Make
    names: Names

    def run(self, provider: str) -> None:
        cases: dict[str, Callable[[], None]] = {
            "text": self._text,
            "stream": lambda: same(self._streamed("count:9"), WORDS),
            "tool loop": self._loop,
            "tool loop in streams": self._streamed_loop,
            "reasoning tool loop": self._reasoning,
            "structured output": self._native,
            "structured output by a tool": self._by_tool,
            "errors": self._errors,
            "broken stream": lambda: breaks(lambda: self._streamed("count:99\nfault:cut")),
        }
        if self.surface == "responses":
            del cases["broken stream"]  # it takes a response that failed for one that is complete
        if self.surface == "messages" and provider != "anthropic":
            del cases["structured output"]  # it believes that of Claude's models only
        for case, act in cases.items():
            check(self.surface, provider, case, act)

    def _ask(self, prompt: str, name: str = "", **more: Any) -> Any:
        async def ask() -> Any:
            # Made in here: a client's connections belong to the loop that it is used in.
            return await Agent(self.make(name or self.names.text), **more).run(prompt)

        return asyncio.run(ask())

    def _streamed(self, prompt: str, **more: Any) -> str:
        async def ask() -> str:
            async with Agent(self.make(self.names.text), **more).run_stream(prompt) as result:
                return "".join([piece async for piece in result.stream_text(delta=True)])

        return asyncio.run(ask())

    def _text(self) -> None:
        result = self._ask("say:Grüezi ✓", instructions="Be brief.")
        same(result.output, "Grüezi ✓")
        holds(result.usage.input_tokens and result.usage.output_tokens, "no usage")

    def _loop(self) -> None:
        same(self._ask(TWO_CALLS, tools=[get_weather]).output, f"The tool said: {REPORTED}")

    def _streamed_loop(self) -> None:
        same(self._streamed(TWO_CALLS, tools=[get_weather]), f"The tool said: {REPORTED}")

    def _reasoning(self) -> None:
        more = {"tools": [get_weather], "model_settings": _REASONING[self.surface]}
        result = self._ask(f"think:hmm\n{TWO_CALLS}", self.names.thinking, **more)
        same(result.output, f"The tool said: {REPORTED}")

    def _native(self) -> None:
        holds(isinstance(self._ask("Who?", output_type=NativeOutput(Person)).output, Person), "no person")

    def _by_tool(self) -> None:
        result = self._ask(PERSON_CALL.format("final_result"), output_type=Person)
        same(result.output, Person(name="Ada", age=36))

    def _errors(self) -> None:
        fails(lambda: self._ask("Hi", self.names.missing), 404)
        fails(lambda: self._ask("fault:busy"), 429)


def signed() -> None:
    """The one of its models over chat completions that sends signed thinking back, to a model that does not
    think on without."""
    client("pydantic-ai with OpenRouterModel", "pydantic-ai-slim")
    settings: Any = {"openrouter_reasoning": {"effort": "medium"}, "max_tokens": 8000}
    prompt = f"think:hmm\n{TWO_CALLS}"

    def agent() -> Agent:
        made = openrouter("anthropic/claude-sonnet-4-5")
        return Agent(made, tools=[get_weather], model_settings=settings)

    async def whole() -> str:
        output: str = (await agent().run(prompt)).output
        return output

    async def streamed() -> str:
        async with agent().run_stream(prompt) as result:
            return "".join([piece async for piece in result.stream_text(delta=True)])

    said = f"The tool said: {REPORTED}"
    check("chat", "anthropic", "reasoning tool loop", lambda: same(asyncio.run(whole()), said))
    check("chat", "anthropic", "reasoning tool loop in streams", lambda: same(asyncio.run(streamed()), said))


def main() -> None:
    """Every surface to every provider."""
    client("pydantic-ai", "pydantic-ai-slim")
    for provider, names in PROVIDERS.items():
        Cases("chat", chat, names).run(provider)
        Cases("responses", responses, names).run(provider)
        Cases("messages", messages, names).run(provider)
    signed()


if __name__ == "__main__":
    main()
