"""What a store of vectors is asked and answers. It keeps no answers: a vector leads to a key of the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

# Where a partition is full its oldest vector goes. With the guard over words a partition is a handful; this
# many are searched in a tenth of a millisecond.
PARTITION = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """A neighbour: the key under which the cache keeps its answer, and the cosine."""

    key: str
    similarity: float


class VectorStore(Protocol):
    """Vectors in hard partitions: no search ever leaves the one that it names. Vectors are packed as
    `pipeline.semantic.vectors` says. A store that is away raises OSError, or lasts longer than the caller
    waits."""

    async def nearest(self, partition: str, vector: bytes, most: int) -> Sequence[Found]:
        """The nearest of the partition, best first."""
        ...

    async def add(self, partition: str, found: str, vector: bytes, seconds: float) -> None:
        """Keep a vector for the key `found`, instead of the one that it has. After so many seconds nobody
        needs it: whether an answer is too old is the cache's to say."""
        ...

    async def drop(self, partition: str, found: str) -> None:
        """Forget the vector of a key."""
        ...

    async def aclose(self) -> None:
        """Give back what is held."""
        ...
