"""What a store of kept answers is asked: bytes under digests, each with an owner and an end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Place:
    """Whose answers: those of a team on a route, since the purge `epoch` (0: since ever)."""

    team: int
    route: int
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer to keep under `key` (32 bytes, of this place alone) for `seconds`."""

    key: bytes
    value: bytes
    seconds: float


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is to go: of a team, a route or both (None: of all of them), as far as it is older than the purge
    `before`; or the one entry `key`."""

    before: int
    team: int | None = None
    route: int | None = None
    key: bytes | None = None

    def takes(self, place: Place, key: bytes) -> bool:
        """True when an entry there has to go."""
        if self.key is not None and self.key != key:
            return False
        return (
            place.epoch < self.before
            and self.team in (None, place.team)
            and self.route in (None, place.route)
        )


@dataclass(frozen=True, slots=True)
class Stock:
    """What a team has: entries, and bytes of them as they are kept."""

    entries: int
    size: int


class CacheStore(Protocol):
    """Keeps answers. Nothing here raises because of an outage, or holds a call up for more than a tenth of a
    second: what is away is bypassed."""

    @property
    def up(self) -> bool:
        """False while nothing can be had from it."""
        ...

    async def get(self, place: Place, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values under these keys, None for each that is not there."""
        ...

    async def put(self, place: Place, items: Sequence[Kept]) -> None:
        """Keep them, as far as there is room for the team."""
        ...

    async def sweep(self, sweep: Sweep) -> int | None:
        """Delete what has to go; how many entries that were, None: not all could be looked at."""
        ...

    async def stock(self) -> dict[int, Stock]:
        """What each team has here."""
        ...

    async def start(self) -> None:
        """Begin what goes on beside the calls."""
        ...

    async def stop(self) -> None:
        """End it."""
        ...
