"""Reads fields of unknown JSON: token counts, text lengths, and the type names that error messages use."""

from __future__ import annotations

from typing import Any

import orjson

# Beyond this a JSON number is no longer exact in every reader; no call has so many tokens.
MAX_COUNT = 1 << 53

# What an image costs in the estimate of a prompt, in characters: about 1,000 tokens, the middle of what
# providers charge for one.
IMAGE_CHARS = 4000
# A document: a few pages, each about 1,000 tokens of text and image.
DOCUMENT_CHARS = 12000


def count(value: Any) -> int | None:
    """A token count as far as it is one: not negative, whole, clamped to 2**53; None for anything else."""
    if type(value) is int:
        return min(value, MAX_COUNT) if value >= 0 else None
    if type(value) is float and value >= 0 and value.is_integer():
        return int(min(value, MAX_COUNT))
    return None


def part(value: Any, whole: int) -> int:
    """A count that is a part of another, 0 for none."""
    return min(count(value) or 0, whole)


def detail(usage: dict[str, Any], group: str, name: str) -> Any:
    """`usage[group][name]`, None where there is no such object."""
    found = usage.get(group)
    return found.get(name) if type(found) is dict else None


def length(value: Any) -> int:
    """Characters of a string, 0 for anything else."""
    return len(value) if type(value) is str else 0


def strings(value: Any) -> int:
    """The rough size of tools and their inputs: the length of their JSON, whose marks cost tokens too."""
    return len(orjson.dumps(value)) if value else 0


def type_name(value: Any) -> str:
    """A JSON type as OpenAI's messages call it."""
    if value is None:
        return "null"
    return _TYPE_NAMES.get(type(value), "an object")


_TYPE_NAMES: dict[type, str] = {
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    str: "a string",
    list: "an array",
    dict: "an object",
}
