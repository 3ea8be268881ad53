"""Anthropic's request that only warms a prompt cache (`max_tokens: 0`), where a provider has no such call."""

from __future__ import annotations

from dialects.parts import messages_usage, new_id
from dialects.types import Facts, JsonObject, Usage

# They answer with one token at least, and cache by themselves. Ollama is not among them: it loads the model.
_CANNOT = frozenset({"chat", "responses"})


def only_warms(client: str, spoken: str, facts: Facts) -> bool:
    """True for such a request of `client` before a provider that is spoken to in `spoken`."""
    return client == "messages" and facts.max_tokens == 0 and spoken in _CANNOT


def warmed(model: str) -> JsonObject:
    """The answer: nothing was said, since the cap is reached, and nothing was used."""
    return {
        "id": new_id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": "max_tokens",
        "stop_sequence": None,
        "stop_details": None,
        "usage": messages_usage(Usage()),
    }
