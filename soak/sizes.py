"""How much of everything a run takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """`seconds` of each measured part; `streams` at once, one step after the other; `clients` at once of
    other calls; `leaving`: clients that leave; `stalled` readers; `slow` heads; `bodies` at once of `mib`
    each; `limit`: requests a minute that are allowed."""

    seconds: float
    streams: tuple[int, ...]
    clients: int
    leaving: int
    stalled: int
    slow: int
    bodies: int
    mib: int
    limit: int


# The load bar itself.
LONG = Size(60.0, (200, 500, 1000), 50, 10_000, 200, 500, 20, 19, 100)
# Everything once, in a minute or so: what the tests run.
SHORT = Size(1.5, (20,), 8, 60, 6, 20, 3, 4, 30)
