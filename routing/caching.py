"""What a route says of the cache of its answers: plain values, as a snapshot holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Whether answers are kept: not at all, or for requests that are the same.
CacheMode = Literal["off", "exact"]
# Who shares them: the keys of a team, or nobody beside the key. Never several teams.
CacheScope = Literal["team", "key"]

# Long enough for retries, test runs and the same question of a morning; short enough that yesterday's
# answers are gone.
TTL_SECONDS = 3600
# Beyond a month an answer is an archive, and what it was made by has changed.
MAX_TTL_SECONDS = 30 * 86_400
# The longest answers in text are a tenth of it, and a stream of theirs fits, compressed or not.
ENTRY_BYTES = 1024 * 1024
MIN_ENTRY_BYTES = 1024
MAX_ENTRY_BYTES = 16 * 1024 * 1024
# Who asks for any variety in so many words does not want the same answer twice.
TEMPERATURE = 0.0
MAX_TEMPERATURE = 2.0


@dataclass(frozen=True, slots=True)
class Purge:
    """Kept answers that nobody gets any more: those of a team, a route or both that were kept before it
    (None: of all), or one entry, by its key in hex. Purges are numbered in their order."""

    id: int
    team_id: int | None = None
    route_id: int | None = None
    key: str = ""


@dataclass(frozen=True, slots=True)
class Caching:
    """The settings of a route that keeps answers; one that does not has none of them.

    `ttl`: seconds for which an answer serves at most; `max_bytes`: of an answer, larger ones are not kept;
    `tools`: answers that call tools are kept too; `temperature`: requests that name a higher one neither use
    the cache nor fill it.
    """

    mode: CacheMode = "exact"
    ttl: int = TTL_SECONDS
    scope: CacheScope = "team"
    max_bytes: int = ENTRY_BYTES
    tools: bool = False
    temperature: float = TEMPERATURE
