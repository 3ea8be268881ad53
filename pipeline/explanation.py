"""What an explanation of a request is made from, and what it says: plain values, ready to be shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec import Struct

from dialects.types import Dialect, Facts, JsonObject
from pipeline.cache_stores import Place
from pipeline.stores import Ask
from routing.allowances import Budget, Limit
from routing.plan import Live
from routing.snapshot import ApiKey


class Question(Struct, frozen=True):
    """What is to be explained. `key` None: only the common routes. `body` None: nothing is known of the
    request but `facts`, so nothing can be said of its translation."""

    dialect: Dialect
    facts: Facts
    key: ApiKey | None = None
    body: JsonObject | None = None


# What is spent of a budget since its period began: nano-dollars or tokens.
Spent = Callable[[Budget, datetime], int]
# How counters stand, None for what is not known; nothing is taken of them.
Counted = Callable[[Sequence[Ask]], Sequence[int | None]]


# What is kept of these answers, None for each that is not there; None: not known here.
Looked = Callable[[Place, Sequence[bytes]], Sequence[bytes | None] | None]


def _nothing(_: Limit | Budget) -> bool:
    return False


class Means(Struct, frozen=True):
    """What is known beside the configuration. `live` None: how targets are is not known here; `counted` None:
    how limits stand is not; `looked` None: what is in the cache is not. `hides`: limits and budgets
    that whoever asks may not see."""

    now: datetime
    spent: Spent
    live: Live | None = None
    counted: Counted | None = None
    hides: Callable[[Limit | Budget], bool] = _nothing
    looked: Looked | None = None


class KeySaid(Struct):
    """What the key's row says. `allowed`: by its list of models."""

    prefix: str
    label: str
    team: str
    priority: str
    allowed_models: list[str]
    allowed: bool
    expired: bool


class Allowance(Struct):
    """A limit or budget that counts this request, in tokens, requests or nano-dollars (`unit`). `used` None:
    not known here. `asks`: what the request takes, of a budget in money None where no price is known.
    `fits` None: not known."""

    what: str
    whose: str
    id: int
    unit: str
    amount: int
    asks: int | None
    used: int | None = None
    left: int | None = None
    fits: bool | None = None
    hard: bool = True
    resets: datetime | None = None


class TargetSaid(Struct):
    """A target of the route. `state`: "candidate", "full", "spare" or "left out", in the order in which they
    are tried; `reason`: why it is none of the candidates. `first`: the share of requests that begin here.
    `lacking`: why its model cannot serve the request, although it is asked. `spoken`: the dialect that it is
    asked in, None where it cannot do such a request at all; `passes`: the client's bytes go through.
    `dropped`: the client's fields that cannot travel; `refuses`: the 400 that the client would get; both None
    where no body was given or nothing stands in the way. `cost`: nano-dollars at most, None: a price is
    unknown. `limits`: those of its provider, at which it is passed over and the next one asked."""

    id: int
    provider: str
    model: str
    tier: int
    weight: int
    state: str
    reason: str | None = None
    first: float = 0.0
    lacking: str | None = None
    spoken: str | None = None
    passes: bool = False
    dropped: list[str] | None = None
    refuses: str | None = None
    cost: int | None = None
    at_once: int | None = None
    in_flight: int | None = None
    limits: list[Allowance] = []

    @property
    def is_at_its_limit(self) -> bool:
        return any(each.fits is False for each in self.limits)


class RouteSaid(Struct):
    """The route that takes the request."""

    id: int
    name: str
    pattern: str
    for_every_team: bool
    balance: str
    affinity: str
    losses: str


class CacheSaid(Struct):
    """Whether the route's cache would answer. `state`: "off", "bypass" (the request keeps out of it), "hit",
    "miss" or "unknown"; `why`: in words; `age`: of what is kept, in seconds."""

    state: str
    why: str
    age: float | None = None


class Explanation(Struct):
    """All that can be said. `outcome`: one sentence. `live`: whether the targets' state of this moment is
    in it."""

    revision: int
    surface: str
    model: str
    stream: bool
    needs: list[str]
    input_tokens: int
    output_tokens: int
    outcome: str
    live: bool
    key: KeySaid | None = None
    limits: list[Allowance] = []
    route: RouteSaid | None = None
    cache: CacheSaid | None = None
    targets: list[TargetSaid] = []
    panic: bool = False
    notes: list[str] = []
