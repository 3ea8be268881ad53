"""LlamaIndex: its OpenAI-like and Anthropic models and its OpenAI-like embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from llama_index.core.llms import ChatMessage
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.openai_like import OpenAILike

from scripts.clients.frameworks.harness import (
    KEY,
    OPENAI_URL,
    PERSON_CALL,
    PROVIDERS,
    REPORTED,
    TWO_CALLS,
    TWO_CITIES,
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

Make = Callable[[str], FunctionCallingLLM]


def get_weather(city: str) -> str:
    """The weather of a city."""
    return report(city)


TOOLS = [FunctionTool.from_defaults(get_weather)]


def chat(name: str) -> FunctionCallingLLM:
    return OpenAILike(
        model=name,
        api_base=OPENAI_URL,
        api_key=KEY,
        is_chat_model=True,
        is_function_calling_model=True,
        should_use_structured_outputs=True,
        context_window=100_000,
        max_retries=0,
    )


def messages(name: str) -> FunctionCallingLLM:
    return Anthropic(model=name, base_url=URL, api_key=KEY, max_tokens=1000, max_retries=0)


def _cases(surface: str, provider: str, make: Make, names: Names) -> None:
    def text() -> None:
        asked = [ChatMessage("Be brief.", role="system"), ChatMessage("say:Grüezi ✓")]
        same(make(names.text).chat(asked).message.content, "Grüezi ✓")

    def stream() -> None:
        chunks = list(make(names.text).stream_chat([ChatMessage("count:9")]))
        same("".join(chunk.delta or "" for chunk in chunks), WORDS)

    def loop(*, streamed: bool) -> None:
        model = make(names.text)
        history = [ChatMessage(TWO_CALLS)]
        more: dict[str, Any] = {"chat_history": history, "allow_parallel_tool_calls": True}
        if streamed:
            *_, first = model.stream_chat_with_tools(TOOLS, **more)
        else:
            first = model.chat_with_tools(TOOLS, **more)
        calls = model.get_tool_calls_from_response(first)
        same([call.tool_kwargs["city"] for call in calls], TWO_CITIES)
        history.append(first.message)
        for call in calls:
            said = report(call.tool_kwargs["city"])
            history.append(ChatMessage(said, role="tool", additional_kwargs={"tool_call_id": call.tool_id}))
        same(model.chat_with_tools(TOOLS, **more).message.content, f"The tool said: {REPORTED}")

    def structured() -> None:
        # To models that it does not know it offers a tool, and holds them to nothing.
        order = PERSON_CALL.format("Person")
        found = make(names.text).as_structured_llm(Person).chat([ChatMessage(order)]).raw
        holds(isinstance(found, Person), "no person")

    def errors() -> None:
        fails(lambda: make(names.text).chat([ChatMessage("fault:busy")]), 429)

    check(surface, provider, "text", text)
    check(surface, provider, "stream", stream)
    check(surface, provider, "tool loop", lambda: loop(streamed=False))
    check(surface, provider, "tool loop in streams", lambda: loop(streamed=True))
    check(surface, provider, "structured output", structured)
    check(surface, provider, "errors", errors)
    broken = [ChatMessage("count:99\nfault:cut")]
    check(
        surface, provider, "broken stream", lambda: breaks(lambda: list(make(names.text).stream_chat(broken)))
    )


def _embeddings(provider: str, name: str) -> None:
    def embed() -> None:
        model = OpenAILikeEmbedding(model_name=name, api_base=OPENAI_URL, api_key=KEY, max_retries=0)
        vectors = model.get_text_embedding_batch(["one", "two"])
        holds(len(vectors) == 2 and all(len(vector) >= 384 for vector in vectors), "no two vectors")

    check("embeddings", provider, "batch", embed)


def main() -> None:
    """Every surface to every provider."""
    client("llama-index-llms-openai-like")
    for provider, names in PROVIDERS.items():
        _cases("chat", provider, chat, names)
    client("llama-index-embeddings-openai-like")
    for provider, names in PROVIDERS.items():
        if names.embedding:
            _embeddings(provider, names.embedding)
    client("llama-index-llms-anthropic")
    for provider, names in PROVIDERS.items():
        # It takes no name but Claude's, so the gateway has a route of such a name to each of the others.
        _cases("messages", provider, messages, replace(names, text=names.claude))


if __name__ == "__main__":
    main()
