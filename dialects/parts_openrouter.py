"""OpenRouter's form of reasoning in chat completions: how it is asked for, and how it goes back and forth.

Its clients keep `reasoning_details` and send them back, so signed thinking survives a tool loop. Many others
keep only the text, which Anthropic does not take back.
"""

from __future__ import annotations

import orjson

from dialects.errors import bad_request
from dialects.parts import EFFORTS, MIN_BUDGET, budget_for, effort_for
from dialects.types import JsonObject

# What says whose reasoning it is: only Claude's goes back to Claude.
CLAUDE = "anthropic-claude-v1"


def wanted(reasoning: JsonObject) -> tuple[str | None, int]:
    """(effort, budget in tokens) that `reasoning` asks for; (None, 0) where it leaves that open. GatewayError
    (400): no such effort."""
    tokens = reasoning.get("max_tokens")
    if type(tokens) is int:
        return effort_for(tokens), max(tokens, MIN_BUDGET)
    effort = reasoning.get("effort")
    if effort is None and type(reasoning.get("enabled")) is bool:
        effort = "medium" if reasoning["enabled"] else "none"
    if effort is None:
        return None, 0
    if type(effort) is not str or effort not in EFFORTS:
        raise bad_request(
            f"Invalid value for 'reasoning.effort'. Supported values are: {', '.join(EFFORTS)}.",
            "reasoning.effort",
            "invalid_value",
        )
    return effort, budget_for(effort) if effort != "none" else 0


def detail(block: JsonObject, index: int) -> JsonObject:
    """A block of Claude's thinking as an entry of `reasoning_details`."""
    if block["type"] == "redacted_thinking":
        return {"type": "reasoning.encrypted", "data": block["data"], "format": CLAUDE, "index": index}
    return {
        "type": "reasoning.text",
        "text": block["thinking"],
        "signature": block["signature"],
        "format": CLAUDE,
        "index": index,
    }


def piece(written: bytes, index: int) -> bytes:
    """A piece of thinking in a stream, as bytes of JSON; `written`: its text as a JSON string."""
    return b'{"type":"reasoning.text","text":%b,"format":"%b","index":%d}' % (written, CLAUDE.encode(), index)


def closing(block: JsonObject, index: int) -> bytes:
    """What ends a block whose text went out in pieces: its signature, or all of what cannot be read."""
    last = detail(block, index)
    if "text" in last:
        last["text"] = ""
    return orjson.dumps(last)
