"""What of a request decides its answer, and which requests have an answer that can be given again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dialects.responses import KEPT_ELSEWHERE
from dialects.types import Facts, JsonObject

# How the answer travels, for whom it is asked, and where a provider keeps its own notes of the prompt: none
# of it changes what the model says. Whatever is not named here, known or not, is part of the key.
_ASIDE = frozenset(
    {
        "stream",
        "stream_options",
        "user",
        "safety_identifier",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)
# The conversation, or files and tools with a memory, are at the provider: the body is not all of the request.
_ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "responses": KEPT_ELSEWHERE,
    "messages": ("thread", "container"),
}
# By dialect: the surfaces whose answers can be kept at all.
SURFACES = frozenset({"chat", "completions", "messages", "responses", "embeddings"})
# A tool that the client runs itself; the others are run by the provider, or by a server that it calls.
_CLIENT_TOOLS = frozenset({None, "function", "custom"})
_ADDRESSES = frozenset({"url", "image_url", "file_url", "file_id"})
_BY_REFERENCE = frozenset({"vision", "documents", "audio"})


def canonical(body: JsonObject) -> JsonObject:
    """The fields of a body that decide its answer, numbers in one form; not to be changed. The order of keys
    is for whoever writes it out."""
    return {
        name: int(value) if type(value) is float and value.is_integer() else value
        for name, value in body.items()
        if name not in _ASIDE
    }


def once_only(name: str, body: JsonObject, facts: Facts) -> str:
    """Why a request in the dialect `name` has no answer that could be given again; "" where it may have."""
    if name not in SURFACES:
        return "this surface is not cached"
    if facts.n > 1:
        return "several answers are asked for"
    if any(body.get(field) for field in _ELSEWHERE.get(name, ())):
        return "its conversation is kept elsewhere"
    if (name == "chat" and body.get("store")) or (name == "messages" and facts.max_tokens == 0):
        return "the provider is asked to keep something"
    if facts.needs & _BY_REFERENCE and _refers(body):
        return "it refers to what may change"
    return ""


def temperature(body: JsonObject) -> float:
    """The temperature that a request names; 0.0 where it names none, infinite for one that is no number."""
    value = body.get("temperature")
    if value is None:
        return 0.0
    return float(value) if type(value) in (int, float) else float("inf")


def runs_tools(body: JsonObject) -> bool:
    """True where the provider runs tools by itself: it searches, executes or calls others."""
    if body.get("web_search_options") is not None or body.get("mcp_servers"):
        return True
    tools = body.get("tools")
    return type(tools) is list and any(
        type(tool) is dict and tool.get("type") not in _CLIENT_TOOLS for tool in tools
    )


def _refers(value: Any) -> bool:
    """True where something within is named by its address or its id at the provider."""
    rest = [value]
    while rest:
        item = rest.pop()
        if type(item) is list:
            rest.extend(item)
        elif type(item) is dict:
            if any(_is_address(name, within) for name, within in item.items()):
                return True
            rest.extend(item.values())
    return False


def _is_address(name: str, value: Any) -> bool:
    return name in _ADDRESSES and type(value) is str and not value.startswith("data:")
