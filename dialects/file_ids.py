"""Finds the ids of files that a request names: `file_id` and `file_ids`, wherever they stand."""

from __future__ import annotations

from typing import Any

# Where neither occurs, no such field does: a name may be written with escapes, all of which begin so.
_SIGNS = (b"file_id", b"\\u00")


def may_name_files(raw: bytes) -> bool:
    """False where the JSON in `raw` certainly names no file."""
    return any(sign in raw for sign in _SIGNS)


def file_ids(body: Any) -> set[str]:
    """The ids in a parsed body."""
    found: set[str] = set()
    rest = [body]
    while rest:
        item = rest.pop()
        if type(item) is list:
            rest.extend(item)
        elif type(item) is dict:
            named = [item.get("file_id"), *_listed(item.get("file_ids"))]
            found.update(name for name in named if type(name) is str)
            rest.extend(item.values())
    return found


def _listed(value: Any) -> list[Any]:
    return value if type(value) is list else []
