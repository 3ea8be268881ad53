"""Puts together what a stream said piece by piece, so that a secret that was spread over events is found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

# What each event says anew, and nobody says bit by bit.
_NAMES = frozenset(
    [
        "id",
        "model",
        "object",
        "type",
        "created_at",
        "system_fingerprint",
        "role",
        "finish_reason",
        "stop_reason",
        "service_tier",
        "name",
        "call_id",
        "item_id",
        "response_id",
        "status",
        "event_id",
        "done_reason",
        "native_finish_reason",
        "provider",
    ]
)
_PLACES = ("index", "output_index", "content_index", "summary_index")
_DEEP = 32


def joined(stream: bytes) -> dict[str, Any]:
    """Of an event stream or of lines of JSON: how many pieces there were, and what stood at each place,
    joined. A last piece that is not whole is left out."""
    found: dict[str, list[str]] = {}
    count = 0
    for piece in _pieces(stream):
        count += 1
        for place, name, text in _strings(piece, _start(piece), "", 0):
            said = found.setdefault(place, [])
            if name not in _NAMES or text not in said:
                said.append(text)
    return {"pieces": count, "said": {place: "".join(said) for place, said in found.items()}}


def _pieces(stream: bytes) -> Iterator[Any]:
    for line in stream.splitlines():
        text = line.removeprefix(b"data:").strip()
        if text[:1] not in (b"{", b"["):
            continue
        try:
            yield orjson.loads(text)
        except ValueError:
            continue


def _start(piece: Any) -> str:
    """Events with the same fields that say different things are told apart by their type."""
    kind = piece.get("type") if isinstance(piece, dict) else None
    return kind if isinstance(kind, str) else ""


def _strings(value: Any, place: str, name: str, deep: int) -> Iterator[tuple[str, str, str]]:
    if isinstance(value, str):
        yield place, name, value
    elif deep > _DEEP:
        return
    elif isinstance(value, dict):
        at = "".join(f"[{value[each]}]" for each in _PLACES if isinstance(value.get(each), int))
        for key, each in value.items():
            yield from _strings(each, f"{place}{at}.{key}".lstrip("."), key, deep + 1)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            # Where an element says which it is, its place in this piece's list says nothing.
            own = "" if isinstance(each, dict) and isinstance(each.get("index"), int) else f"[{number}]"
            yield from _strings(each, place + own, name, deep + 1)
