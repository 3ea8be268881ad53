"""The columns that say how calls travel, to the values of a snapshot: breakers, balance, queues, timeouts.

A file that was kept by an older version has rows without them: then the defaults hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

from routing.caching import CacheMode, CacheScope, Caching
from routing.semantic import ContextRule, Guard, Semantic, SemanticMode
from routing.snapshot import (
    AS_PROVIDED,
    Affinity,
    Balance,
    BreakerMode,
    BreakerSettings,
    FailureClass,
    Integrity,
    OnDisconnect,
    Patience,
    Queue,
)

_PATIENCE = len(Patience.__dataclass_fields__)
_CACHING = len(Caching.__dataclass_fields__)
_SEMANTIC = len(Semantic.__dataclass_fields__)


def breaker(columns: Sequence[object]) -> BreakerSettings:
    """A provider's: mode, failures in a row, share, attempts, window, seconds open, seconds at most."""
    if not columns:
        return BreakerSettings()
    mode, consecutive, ratio, minimum, window, seconds, most = columns
    return BreakerSettings(
        consecutive=_count(consecutive),
        ratio=_above_0(ratio),
        minimum=_count(minimum),
        window_seconds=_above_0(window),
        open_seconds=_above_0(seconds),
        max_open_seconds=_above_0(most),
        mode=_word(mode, BreakerMode),
    )


def route(columns: Sequence[object]) -> dict[str, Any]:
    """A route's: balance, affinity, integrity, what becomes of streams without clients, tries, queue, the
    timeouts of its own, what it says of its cache and of like questions, and whether late answers are
    asked for elsewhere."""
    if not columns:
        return {}
    balance, affinity, integrity, on_disconnect, tries, seconds, limit, *own = columns
    seconds_of, kept = own[:_PATIENCE], own[_PATIENCE:]
    cache, like = kept[:_CACHING], kept[_CACHING : _CACHING + _SEMANTIC]
    # What was kept on disk before there was such a column has none.
    late = kept[_CACHING + _SEMANTIC :]
    patience = Patience(*(None if value is None else _above_0(value) for value in seconds_of))
    return {
        "balance": _word(balance, Balance),
        "affinity": _word(affinity, Affinity),
        "integrity": _word(integrity, Integrity),
        "on_disconnect": _word(on_disconnect, OnDisconnect),
        "tries": _count(tries),
        "late_fallback": bool(late and late[0]),
        "queue": Queue(seconds=_number(seconds), limit=_whole(limit)),
        "patience": AS_PROVIDED if patience == AS_PROVIDED else patience,
        "caching": _caching(cache),
        "semantic": _semantic(like),
    }


def _caching(columns: Sequence[object]) -> Caching | None:
    """Mode, seconds, scope, bytes, tools, temperature; None where the cache is off."""
    if not columns or columns[0] == "off":
        return None
    mode, ttl, scope, most, tools, temperature = columns
    return Caching(
        mode=_word(mode, CacheMode),
        ttl=_count(ttl),
        scope=_word(scope, CacheScope),
        max_bytes=_count(most),
        tools=bool(tools),
        temperature=_number(temperature),
    )


def _semantic(columns: Sequence[object]) -> Semantic | None:
    """Mode, threshold, embedder, guard, context, seconds, prompts; None where it is off."""
    if not columns or columns[0] == "off":
        return None
    mode, threshold, embedder, guard, context, seconds, prompts = columns
    return Semantic(
        mode=_word(mode, SemanticMode),
        threshold=_above_0(threshold),
        embedder=str(embedder),
        guard=_word(guard, Guard),
        context=_word(context, ContextRule),
        seconds=_above_0(seconds),
        prompts=bool(prompts),
    )


def target(columns: Sequence[object]) -> dict[str, Any]:
    """A target's: what it waits for, and its places."""
    if not columns:
        return {}
    after, places = columns
    if not isinstance(after, list):
        raise TypeError("after is not a list")
    return {
        "after": frozenset(_word(word, FailureClass) for word in after),
        "max_in_flight": None if places is None else _count(places),
    }


def _word(value: object, words: Any) -> Any:
    if value not in get_args(words):
        raise ValueError("none of its words")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    if not math.isfinite(value) or value < 0:
        raise ValueError("a number below 0, or none")
    return float(value)


def _above_0(value: object) -> float:
    number = _number(value)
    if number <= 0:
        raise ValueError("0 means nothing here")
    return number


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("not a whole number")
    if value < 0:
        raise ValueError("below 0")
    return value


def _count(value: object) -> int:
    number = _whole(value)
    if number < 1:
        raise ValueError("0 means nothing here")
    return number
