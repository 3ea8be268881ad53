"""LangChain: langchain-openai over chat completions and responses, langchain-anthropic over messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from scripts.clients.frameworks.harness import (
    KEY,
    OPENAI_URL,
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

Make = Callable[..., BaseChatModel]


def get_weather(city: str) -> str:
    """The weather of a city."""
    return report(city)


TOOLS = [tool(get_weather)]


def chat(name: str, **more: Any) -> BaseChatModel:
    return ChatOpenAI(model=name, base_url=OPENAI_URL, api_key=KEY, max_retries=0, **more)


def responses(name: str, **more: Any) -> BaseChatModel:
    return chat(name, use_responses_api=True, output_version="responses/v1", **more)


def messages(name: str, **more: Any) -> BaseChatModel:
    return ChatAnthropic(model=name, base_url=URL, api_key=KEY, max_retries=0, **{"max_tokens": 1000, **more})


_REASONING: dict[str, dict[str, Any]] = {
    "chat": {"reasoning_effort": "medium"},
    "responses": {"reasoning": {"effort": "medium", "summary": "auto"}, "store": False},
    "messages": {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 8000},
}


@dataclass(frozen=True, slots=True)
class Cases:
    """What is done with one provider's models on one surface."""

    surface: str
    make: Make
    names: Names

    def run(self, provider: str) -> None:
        model = self.make(self.names.text)
        thinking = self.make(self.names.thinking, **_REASONING[self.surface])
        cases: dict[str, Callable[[], None]] = {
            "text": self._text,
            "stream": self._stream,
            "tool loop": lambda: _loop(_whole, model, TWO_CALLS),
            "tool loop in streams": lambda: _loop(_streamed, model, TWO_CALLS),
            "reasoning tool loop": lambda: _loop(_streamed, thinking, f"think:hmm\n{TWO_CALLS}"),
            "structured output": self._structured,
            "errors": self._errors,
            "broken stream": lambda: breaks(lambda: list(model.stream("count:99\nfault:cut"))),
        }
        for case, act in cases.items():
            check(self.surface, provider, case, act)

    def _text(self) -> None:
        reply = self.make(self.names.text).invoke([SystemMessage("Be brief."), HumanMessage("say:Grüezi ✓")])
        same(reply.text, "Grüezi ✓")
        used = reply.usage_metadata
        holds(used and used["input_tokens"] and used["output_tokens"], "no usage")

    def _stream(self) -> None:
        whole = _streamed(self.make(self.names.text, stream_usage=True), "count:9")
        same(whole.text, WORDS)
        holds(whole.usage_metadata and whole.usage_metadata["output_tokens"], "no usage")

    def _structured(self) -> None:
        model = self.make(self.names.text).with_structured_output(Person, method="json_schema")
        holds(isinstance(model.invoke("Who?"), Person), "no person")

    def _errors(self) -> None:
        fails(lambda: self.make(self.names.missing).invoke("Hi"), 404)
        fails(lambda: self.make(self.names.text).invoke("fault:busy"), 429)


def _whole(model: Any, prompt: Any) -> Any:
    return model.invoke(prompt)


def _streamed(model: Any, prompt: Any) -> Any:
    """The chunks of a stream added up, as LangChain's users do it."""
    return reduce(add, model.stream(prompt))


def _loop(ask: Callable[[Any, Any], Any], model: BaseChatModel, order: str) -> None:
    """Two calls at once, their results, and the answer to these."""
    bound = model.bind_tools(TOOLS)
    history: list[BaseMessage] = [HumanMessage(order)]
    reply = ask(bound, history)
    same([call["args"]["city"] for call in reply.tool_calls], TWO_CITIES)
    history.append(reply)
    history += [
        ToolMessage(report(call["args"]["city"]), tool_call_id=call["id"]) for call in reply.tool_calls
    ]
    same(ask(bound, history).text, f"The tool said: {REPORTED}")


def _embeddings(provider: str, name: str) -> None:
    def embed() -> None:
        # Left on, it sends tokens of OpenAI's own vocabulary instead of text.
        model = OpenAIEmbeddings(
            model=name, base_url=OPENAI_URL, api_key=KEY, check_embedding_ctx_length=False, max_retries=0
        )
        vectors = model.embed_documents(["one", "two"])
        holds(len(vectors) == 2 and all(len(vector) >= 384 for vector in vectors), "no two vectors")

    check("embeddings", provider, "documents", embed)


def main() -> None:
    """Every surface to every provider."""
    client("langchain-openai")
    for provider, names in PROVIDERS.items():
        Cases("chat", chat, names).run(provider)
        Cases("responses", responses, names).run(provider)
        if names.embedding:
            _embeddings(provider, names.embedding)
    client("langchain-anthropic")
    for provider, names in PROVIDERS.items():
        Cases("messages", messages, names).run(provider)


if __name__ == "__main__":
    main()
