"""Vectors in this process's memory: bounded, and the least recently used go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from pipeline.semantic.matrix import Matrix, unpack
from pipeline.semantic.stores import PARTITION, Found

# A hundred thousand vectors of the local model with their keys, or fifteen thousand of 1,536 numbers.
MEMORY = 128 * 1024 * 1024
# What a vector takes beside its numbers: two keys, their places in the tables, a matrix of its own.
_BESIDE = 900


class MemoryVectors:
    """A store of one process."""

    def __init__(self, most_bytes: int = MEMORY, partition: int = PARTITION) -> None:
        self._most_bytes = most_bytes
        self._partition = partition
        self._partitions: dict[str, Matrix] = {}
        # (partition, key), least recently used first.
        self._used: OrderedDict[tuple[str, str], None] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._used)

    async def nearest(self, partition: str, vector: bytes, most: int) -> Sequence[Found]:
        """The nearest of the partition, best first."""
        matrix = self._partitions.get(partition)
        numbers = unpack(vector)
        if matrix is None or matrix.dimensions != len(numbers):
            return ()
        found = await matrix.nearest(numbers, most)
        if found and (partition, found[0].key) in self._used:
            self._used.move_to_end((partition, found[0].key))
        return found

    async def add(self, partition: str, found: str, vector: bytes, seconds: float) -> None:  # noqa: ARG002 - the protocol's; what is not used goes first here
        """Keep a vector for the key `found`."""
        numbers = unpack(vector)
        matrix = self._partitions.get(partition)
        if matrix is not None and matrix.dimensions != len(numbers):
            # Another model answers under the same name: its numbers mean something else.
            self._forget(partition)
            matrix = None
        if matrix is None:
            matrix = self._partitions[partition] = Matrix(len(numbers), self._partition)
            self.bytes += matrix.bytes
        before = matrix.bytes
        gone = matrix.add(found, numbers)
        self.bytes += matrix.bytes - before
        if gone is not None:
            self._used.pop((partition, gone), None)
            self.bytes -= _BESIDE
        if (partition, found) not in self._used:
            self.bytes += _BESIDE
        self._used[partition, found] = None
        self._used.move_to_end((partition, found))
        while self.bytes > self._most_bytes and self._used:
            self._remove(*next(iter(self._used)))

    async def drop(self, partition: str, found: str) -> None:
        """Forget the vector of a key."""
        self._remove(partition, found)

    async def aclose(self) -> None:
        """Nothing is held."""

    def _remove(self, partition: str, key: str) -> None:
        if (partition, key) not in self._used:
            return
        del self._used[partition, key]
        matrix = self._partitions[partition]
        before = matrix.bytes
        matrix.remove(key)
        self.bytes += matrix.bytes - before - _BESIDE
        if not len(matrix):
            self.bytes -= matrix.bytes
            del self._partitions[partition]

    def _forget(self, partition: str) -> None:
        for other in [pair for pair in self._used if pair[0] == partition]:
            self._remove(*other)
