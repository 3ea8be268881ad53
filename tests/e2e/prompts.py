"""Prompts and a tool's schema that tests of several surfaces share; the fake's `mind` reads them."""

from __future__ import annotations

import json
from typing import Any

PLACE: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Where"}, "days": {"type": "integer"}},
    "required": ["city"],
}


def user(content: Any) -> list[Any]:
    """A conversation of one turn."""
    return [{"role": "user", "content": content}]


def order(**arguments: Any) -> str:
    """Makes the model call the tool `weather` with these arguments."""
    return "call:weather " + json.dumps(arguments, ensure_ascii=False)
