"""What counters of limits and budgets are asked and what they answer: one decision, all or nothing, and its
settlement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

# A window counts in this many parts, of which the oldest counts whole until all of it has passed. So no more
# than the limit is ever let through in any window; room comes back up to a sixtieth of it late, a second in a
# minute; and a counter takes as much memory for a hundred as for a hundred thousand a minute.
PARTS = 60

AskKind = Literal["window", "lease", "meter"]


class Ask(Struct, frozen=True, gc=False):
    """One counter in a decision, and what the call takes of it.

    window: `amount` within `span` seconds; lease: one of `limit` places, until it is given back; meter:
    `amount`, added up for as long as `key` is asked for. A `limit` of 0 lets nothing through. A meter that is
    not `hard` refuses nothing.
    """

    kind: AskKind
    key: str
    limit: int
    amount: int = 1
    span: int = 0
    hard: bool = True


class Demand(Struct, frozen=True):
    """What one call asks at once. `id` names it, once and for all; `tag` stands in braces in each key, so
    that all of them are in one place of a cluster."""

    id: str
    tag: str
    asks: tuple[Ask, ...]


class Level(Struct, frozen=True, gc=False):
    """How a counter stands after a decision. `used`: with this call, where it was let in.

    `wait`: seconds until the call would fit, 0 where it does, infinite where nobody knows. `reset`: seconds
    until nothing counts any more.
    """

    used: int
    wait: float = 0.0
    reset: float = 0.0


class Verdict(Struct, frozen=True):
    """A decision; `levels` in the order of the asks.

    `missing`: the keys of meters that nobody knows: nothing was decided, they must be seeded first. `at` and
    `ticket` are the store's own: they go back to it with the settlement.
    """

    admitted: bool
    levels: tuple[Level, ...] = ()
    missing: tuple[str, ...] = ()
    at: float = 0.0
    ticket: str = ""


# Told how meters stand when a call has been settled. It must not raise and must not wait.
Watch = Callable[[Mapping[str, int]], None]


class Store(Protocol):
    """Counters. Nothing here raises because of an outage: a store decides by what it has left."""

    @property
    def degraded(self) -> bool:
        """True while it decides by less than it should."""
        ...

    def now(self) -> float:
        """Seconds since the epoch, by the clock that counts."""
        ...

    async def decide(self, demand: Demand) -> Verdict:
        """Take all that is asked, or nothing."""
        ...

    async def look(self, asks: Sequence[Ask]) -> list[int | None]:
        """How much of each counter is used, taking nothing of it. None: not known."""
        ...

    def settle(self, demand: Demand, verdict: Verdict, actual: tuple[int, ...]) -> None:
        """What was used in truth, in the order of the asks: the difference is given back or charged, places
        are given back. Counts once for each demand, however often it is said. Never waits."""
        ...

    async def seed(self, key: str, used: int, seconds: float | None) -> None:
        """Begin a meter at `used`, unless it has begun meanwhile; forget it after `seconds`, or never."""
        ...

    async def first(self, key: str, seconds: float) -> bool:
        """True for whoever says this key first within `seconds`, of all who share the store."""
        ...

    async def start(self) -> None:
        """Begin what goes on beside the calls."""
        ...

    async def stop(self) -> None:
        """End it, and write down what is still to be written, as far as that takes but a moment."""
        ...
