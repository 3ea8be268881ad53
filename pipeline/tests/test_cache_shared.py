"""A stream that several read keeps within bounds, whoever is quick and whoever is slow."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from dialects.errors import GatewayError
from pipeline import cache_flight
from pipeline.cache_flight import Shared


async def test_of_a_stream_that_is_far_too_long_no_more_is_kept_than_can_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache_flight, "HELD_LIMIT", 1000)
    taken = 0

    class Endless:
        def __aiter__(self) -> Endless:
            return self

        async def __anext__(self) -> bytes:
            nonlocal taken
            taken += 1
            return bytes(100)

        async def aclose(self) -> None:
            """Nothing to close."""

    call: Any = SimpleNamespace(record=SimpleNamespace(outcome="ok"))
    shared = Shared(Endless(), call)
    # Who follows reads ahead, but not for ever.
    for number in range(11):
        assert await shared.piece(number)
    ahead = asyncio.create_task(shared.piece(11))
    await asyncio.sleep(0)
    assert not ahead.done()
    assert taken == 11
    # Who leads reads on; then so may the other.
    assert await shared.piece(11, leads=True)
    assert await ahead
    for number in range(12, 40):
        assert await shared.piece(number, leads=True)
        shared.trim(alone=False)
    assert not shared.whole
    assert shared._size < 3000
    # Who is too slow is told so, and those who wait when it is given up are too.
    with pytest.raises(GatewayError):
        await shared.piece(5)
    waiting = asyncio.create_task(shared.piece(10_000))
    await asyncio.sleep(0)
    await shared.aclose()
    with pytest.raises(GatewayError):
        await waiting
