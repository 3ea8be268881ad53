"""What the admin's threads ask of the event loop's own: counters, and what is in the cache."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from pipeline.cache_stores import CacheStore, Place, Stock
from pipeline.stores import Ask, Store

Said = TypeVar("Said")

# An operator who looks waits no longer for the event loop.
_LOOK_SECONDS = 2.0


def counted(store: Store, loop: asyncio.AbstractEventLoop, asks: Sequence[Ask]) -> Sequence[int | None]:
    """How limits stand. None for what is not told in time."""
    return _told(loop, store.look(asks), [None] * len(asks))


def stock(cache: CacheStore, loop: asyncio.AbstractEventLoop) -> Mapping[int, Stock] | None:
    """What each team has in the cache. None where it is not there, or does not tell in time."""
    return _told(loop, cache.stock(), None) if cache.up else None


def looked(
    cache: CacheStore, loop: asyncio.AbstractEventLoop, place: Place, keys: Sequence[bytes]
) -> Sequence[bytes | None] | None:
    """What is kept under these keys. None as above."""
    return _told(loop, cache.get(place, keys), None) if cache.up else None


def _told(loop: asyncio.AbstractEventLoop, asked: Coroutine[Any, Any, Said], otherwise: Said) -> Said:
    looking = asyncio.run_coroutine_threadsafe(asked, loop)
    try:
        return looking.result(_LOOK_SECONDS)
    except TimeoutError:
        looking.cancel()
        return otherwise
