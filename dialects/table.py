"""The table of dialects and pairs: who can be understood by whom, on one page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from dialects.capabilities import asks_for_responses, tools_end_reasoning
from dialects.chat import CHAT
from dialects.chat_via_messages import ChatViaMessages
from dialects.chat_via_ollama import ChatViaOllama
from dialects.chat_via_responses import ChatViaResponses
from dialects.completions import COMPLETIONS
from dialects.completions_via_chat import CompletionsViaChat
from dialects.completions_via_ollama_generate import CompletionsViaOllamaGenerate
from dialects.composed import Composed
from dialects.count_tokens import COUNT_TOKENS, estimated
from dialects.embeddings import EMBEDDINGS
from dialects.embeddings_via_ollama import EmbeddingsViaOllama
from dialects.in_order import Ends, InOrder
from dialects.media import MEDIA_DIALECTS, RESPONSE_TOKENS, estimated_tokens
from dialects.messages import MESSAGES
from dialects.messages_via_chat import MessagesViaChat
from dialects.messages_via_ollama import MessagesViaOllama
from dialects.ollama_chat import OLLAMA_CHAT
from dialects.ollama_embed import OLLAMA_EMBED
from dialects.ollama_generate import OLLAMA_GENERATE
from dialects.responses import RESPONSES
from dialects.responses_via_chat import ResponsesViaChat
from dialects.types import Dialect, Facts, JsonObject, ModelFacts, Translator

DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        CHAT,
        COMPLETIONS,
        EMBEDDINGS,
        MESSAGES,
        OLLAMA_CHAT,
        OLLAMA_EMBED,
        OLLAMA_GENERATE,
        RESPONSES,
        COUNT_TOKENS,
        *MEDIA_DIALECTS,
    )
}

# What chat completions cannot say themselves, above all signed thinking, goes between two pairs all the same.
_RESPONSES_BETWEEN = partial(ResponsesViaChat, between=True)
_MESSAGES_BETWEEN = partial(MessagesViaChat, between=True)

# (client, provider) to a new translator. The same name on both sides needs none: the bytes go through.
TRANSLATORS: Mapping[tuple[str, str], Callable[[], Translator]] = {
    ("chat", "messages"): ChatViaMessages,
    ("chat", "ollama_chat"): ChatViaOllama,
    ("chat", "responses"): ChatViaResponses,
    ("messages", "chat"): MessagesViaChat,
    ("messages", "ollama_chat"): MessagesViaOllama,
    ("messages", "responses"): partial(
        InOrder, _MESSAGES_BETWEEN, CHAT, ChatViaResponses, Ends("messages", "responses")
    ),
    ("completions", "chat"): CompletionsViaChat,
    ("completions", "messages"): partial(Composed, CompletionsViaChat, CHAT, ChatViaMessages),
    ("completions", "ollama_chat"): partial(Composed, CompletionsViaChat, CHAT, ChatViaOllama),
    ("completions", "ollama_generate"): CompletionsViaOllamaGenerate,
    ("completions", "responses"): partial(Composed, CompletionsViaChat, CHAT, ChatViaResponses),
    ("responses", "chat"): ResponsesViaChat,
    ("responses", "messages"): partial(
        InOrder, _RESPONSES_BETWEEN, CHAT, ChatViaMessages, Ends("responses", "messages")
    ),
    ("responses", "ollama_chat"): partial(Composed, _RESPONSES_BETWEEN, CHAT, ChatViaOllama),
    ("embeddings", "ollama_embed"): EmbeddingsViaOllama,
}

# What the gateway answers by itself where the provider has no such call.
LOCAL: Mapping[str, Callable[[Facts], JsonObject]] = {
    COUNT_TOKENS.name: estimated,
    RESPONSE_TOKENS.name: estimated_tokens,
}


@dataclass(frozen=True, slots=True)
class Rather:
    """A dialect that serves some requests better than the one that would be chosen: those that need `need`
    (a word of `Facts.needs`), with models of which `where` holds. It is taken where a provider offers it."""

    need: str
    upstream: str
    where: Callable[[ModelFacts], bool]


Known = Callable[[], ModelFacts]

# By the client's dialect, best first.
RATHER: Mapping[str, tuple[Rather, ...]] = {
    # Over chat completions these models would answer without reasoning, and tell no reasoning anyway.
    "messages": (Rather("tools", "responses", tools_end_reasoning),),
    # A chat client gets the provider's own refusal, unless an operator has asked for better.
    "chat": (Rather("tools", "responses", asks_for_responses),),
    # Nobody else inserts text before a suffix.
    "completions": (Rather("insert", "ollama_generate", lambda _: True),),
}


def choose(
    client: str, offered: tuple[str, ...], facts: Facts | None = None, known: Known | None = None
) -> str | None:
    """The dialect to speak with a provider that offers these, best first: one that serves a request with such
    `facts` rather, the client's own where it can be, else the first for which there is a pair; None when
    nobody can translate. `known` looks the upstream's model up, and only where that matters."""
    if facts is not None and known is not None and facts.needs:
        for rather in RATHER.get(client, ()):
            if rather.need in facts.needs and rather.upstream in offered and rather.where(known()):
                return rather.upstream
    if client in offered:
        return client
    return next((name for name in offered if (client, name) in TRANSLATORS), None)
