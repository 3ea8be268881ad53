"""The vectors of one partition as one matrix, searched by one product.

Importing this module costs numpy: `pipeline.semantic.lazily` does it when a route first asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pipeline.semantic.stores import Found

Vector: TypeAlias = npt.NDArray[np.float32]

# Products of more numbers than this take longer than a thread's errand.
_INLINE_NUMBERS = 400_000


class Matrix:
    """Rows of unit vectors with a key each. `most`: a new one takes the place of the oldest."""

    __slots__ = ("_keys", "_numbers", "_rows", "most")

    def __init__(self, dimensions: int, most: int) -> None:
        self._numbers: Vector = np.empty((1, dimensions), np.float32)
        self._keys: list[str] = []
        # Key to row, oldest key first.
        self._rows: dict[str, int] = {}
        self.most = most

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def dimensions(self) -> int:
        return int(self._numbers.shape[1])

    @property
    def bytes(self) -> int:
        """Of memory for the numbers, unused room included."""
        return self._numbers.nbytes

    def add(self, key: str, vector: Vector) -> str | None:
        """Add or replace a row; answers the key that had to go."""
        self.remove(key)
        gone = next(iter(self._rows)) if len(self) >= self.most else None
        if gone is not None:
            self.remove(gone)
        row = len(self)
        if row == len(self._numbers):
            self._resize(min(self.most, row * 2))
        self._numbers[row] = vector
        self._keys.append(key)
        self._rows[key] = row
        return gone

    def remove(self, key: str) -> bool:
        """True where there was one."""
        row = self._rows.pop(key, None)
        if row is None:
            return False
        last = len(self) - 1
        if row != last:
            # The last row fills the hole.
            self._numbers[row] = self._numbers[last]
            self._keys[row] = self._keys[last]
            self._rows[self._keys[row]] = row
        self._keys.pop()
        if last and last * 4 <= len(self._numbers):
            self._resize(last * 2)
        return True

    def _resize(self, rows: int) -> None:
        """A copy: whoever multiplies the old one in a thread goes on with it."""
        numbers = np.empty((rows, self.dimensions), np.float32)
        numbers[: len(self)] = self._numbers[: len(self)]
        self._numbers = numbers

    async def nearest(self, vector: Vector, most: int) -> Sequence[Found]:
        """The best rows, best first."""
        count = len(self)
        if not count:
            return ()
        numbers = self._numbers[:count]
        if numbers.size > _INLINE_NUMBERS:
            keys = list(self._keys)
            scores = await asyncio.to_thread(np.dot, numbers, vector)
        else:
            keys = self._keys
            scores = numbers @ vector
        best = np.argsort(scores)[::-1] if count <= most else _top(scores, most)
        return [found for row in best if (found := self._found(keys[row], vector)) is not None]

    def _found(self, key: str, vector: Vector) -> Found | None:
        """The row as it is now: while a thread multiplied, it may have been replaced, or filled a hole."""
        row = self._rows.get(key)
        return None if row is None else Found(key, float(self._numbers[row] @ vector))


def unpack(packed: bytes) -> Vector:
    """A packed vector as numbers; it shares the bytes. Raises ValueError for what is none."""
    return np.frombuffer(packed, "<f4").astype(np.float32, copy=False)


def _top(scores: npt.NDArray[Any], most: int) -> npt.NDArray[Any]:
    some = np.argpartition(scores, -most)[-most:]
    return some[np.argsort(scores[some])[::-1]]
