"""What another configuration would do to requests that have been: a pure comparison of two snapshots, by the
function that routes."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import count, islice
from typing import NamedTuple, TypeVar

from msgspec import Struct

from dialects.table import LOCAL, choose
from dialects.types import Facts, Usage
from routing.plan import Chance, Plan, allowed, plan
from routing.prices import NO_PRICE, cost
from routing.snapshot import Affinity, ApiKey, Snapshot, Target

# Drawings of a plan: a share is right to about 3 points.
_ROUNDS = 1000
# Where prices decide, only equal ones are drawn: so many drawings tell whether there are any.
_LOOKS_FOR_A_TIE = 16
# Less than this of a request is a rounding error.
_LEAST = 1e-6


class Alike(Struct, frozen=True):
    """`count` requests that are planned alike. `facts`: of one in their middle; `usage`: of all together;
    `paid`: nano-dollars for all, as charged."""

    key_id: int
    key: str
    team: str
    surface: str
    facts: Facts
    count: int
    usage: Usage
    paid: int = 0


class Place(NamedTuple):
    """Where a request is served: a provider, by name and kind, and the model's name there."""

    provider: str
    kind: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


class Move(Struct):
    """So many requests, as expected, begin at `to` and no longer at `source`: provider/model."""

    source: str
    to: str
    requests: float


class KeyChange(Struct):
    """What a key loses or gains of a model: `why` it is refused, by the configuration that refuses it, and
    how many of the requests that is, as expected."""

    key: str
    team: str
    model: str
    why: str
    requests: float


class Unmatched(Struct):
    """A route of the new configuration that none of the requests takes. `before`: how many take it now."""

    name: str
    pattern: str
    before: int


class Impact(Struct):
    """What would be different. Numbers of requests are expectations where a draw decides.

    `requests`: that were looked at; `moved`: begin at another target, and `other_provider` of them with
    another provider; `refused` and `served`: are refused then and served now, and the other way round;
    `no_target`: of those refused, how many have a route of which no target takes calls; `refused_already`:
    refused by both. `cost_now` and `cost_then`: nano-dollars by each catalogue's prices, of the tokens of the
    requests that both serve; `unpriced`: how many of these are in neither sum, because a price is unknown.
    `paid`: what all of them were charged.
    """

    requests: int = 0
    moved: float = 0.0
    other_provider: float = 0.0
    refused: float = 0.0
    served: float = 0.0
    no_target: float = 0.0
    refused_already: float = 0.0
    cost_now: int = 0
    cost_then: int = 0
    unpriced: float = 0.0
    paid: int = 0
    moves: list[Move] = []
    lost: list[KeyChange] = []
    gained: list[KeyChange] = []
    unmatched: list[Unmatched] = []


KEY = "the key is unknown, revoked or expired"
MODEL = "the key's list of models has no place for it"
ROUTE = "no route takes the model"
TARGET = "no target takes calls"
SURFACE = "the provider cannot do this kind of request"

# Where requests end, a place or the reason of a refusal, and which share of them.
Shares = Mapping[Place | str, float]
# A key's prefix, its team, a model and the reason of a refusal.
_Whose = tuple[str, str, str, str]
_Name = TypeVar("_Name")


def impact(before: Snapshot, after: Snapshot, requests: Iterable[Alike], now: datetime) -> Impact:
    """What would be different for these requests if `after` were in force instead of `before`. Asks nothing
    of live state: every target counts as well."""
    was, will = _Sight(before, now), _Sight(after, now)
    sums = _Sums(was, will)
    for alike in requests:
        sums.add(alike)
    return sums.said()


class _Sight:
    """One configuration, and where it sends requests."""

    def __init__(self, snapshot: Snapshot, now: datetime) -> None:
        self.snapshot = snapshot
        self.taken: Counter[int] = Counter()
        self._now = now
        self._keys = {key.id: key for key in snapshot.keys.values()}
        self._drawn: dict[tuple[object, ...], Counter[int]] = {}

    def shares(self, alike: Alike) -> Shares:
        """Where these requests end."""
        key = self._keys.get(alike.key_id)
        if key is None or (key.expires_at is not None and key.expires_at <= self._now):
            return {KEY: 1.0}
        if not allowed(key, alike.facts.model):
            return {MODEL: 1.0}
        chance = _chance(key)
        chosen = plan(self.snapshot, alike.facts, key.team.id, chance)
        if chosen.route is None:
            return {ROUTE: 1.0}
        self.taken[chosen.route.id] += alike.count
        if not chosen.candidates:
            return {TARGET: 1.0}
        found: dict[Place | str, float] = {}
        first = self._first(chosen, alike.facts, key, chance)
        for target in chosen.candidates:
            if first[target.id]:
                place = _place(target, alike)
                found[place] = found.get(place, 0.0) + first[target.id] / first.total()
        return found

    def _first(self, chosen: Plan, facts: Facts, key: ApiKey, chance: Chance) -> Counter[int]:
        """How often each target is the first, by the plan itself; asked once for all that are drawn alike."""
        route, first = chosen.route, [target.id for target in chosen.candidates[:1]]
        if route is None or len(chosen.candidates) == 1:
            return Counter(first)
        if route.balance == "ordered" or route.affinity == "key":
            # No draw: the first is first, and a key stays where it is.
            return Counter(first)
        firsts = (plan(self.snapshot, facts, key.team.id, chance).candidates[0].id for _ in count())
        name: tuple[object, ...] = route.id, frozenset(target.id for target in chosen.candidates)
        if route.balance == "cheapest":
            name = *name, facts.model
            size = facts.prompt_chars.bit_length(), (facts.max_tokens or 0).bit_length()
            found = self._known((*name, *size), firsts, _LOOKS_FOR_A_TIE)
            if len(found) == 1:
                return found
            # Prices that are equal are so for every size.
        return self._known(name, firsts, _ROUNDS)

    def _known(self, name: tuple[object, ...], firsts: Iterator[int], times: int) -> Counter[int]:
        if name not in self._drawn:
            self._drawn[name] = Counter(islice(firsts, times))
        return self._drawn[name]

    def cost(self, place: Place, usage: Usage) -> int | None:
        """Nano-dollars; None where a price is unknown."""
        row = self.snapshot.catalogue.get((place.kind, place.model))
        return cost(row.price if row else NO_PRICE, usage)


class _Sums:
    """All requests together, on their way into an impact."""

    def __init__(self, was: _Sight, will: _Sight) -> None:
        self._was = was
        self._will = will
        self._impact = Impact()
        self._moves: dict[tuple[str, str], float] = defaultdict(float)
        self._lost: dict[_Whose, float] = defaultdict(float)
        self._gained: dict[_Whose, float] = defaultdict(float)
        self._cost_now = self._cost_then = 0.0

    def add(self, alike: Alike) -> None:
        said = self._impact
        said.requests += alike.count
        said.paid += alike.paid
        for source, to, share in flows(self._was.shares(alike), self._will.shares(alike)):
            part = share * alike.count
            if isinstance(source, Place) and isinstance(to, Place):
                self._kept(alike, source, to, share)
            elif isinstance(source, Place):
                said.refused += part
                said.no_target += part if to == TARGET else 0.0
                self._lost[_whose(alike, str(to))] += part
            elif isinstance(to, Place):
                said.served += part
                self._gained[_whose(alike, source)] += part
            else:
                said.refused_already += part

    def _kept(self, alike: Alike, source: Place, to: Place, share: float) -> None:
        """Served by both."""
        said, part = self._impact, share * alike.count
        if source != to:
            said.moved += part
            said.other_provider += part if source.provider != to.provider else 0.0
            self._moves[str(source), str(to)] += part
        now, then = self._was.cost(source, alike.usage), self._will.cost(to, alike.usage)
        if now is None or then is None:
            said.unpriced += part
        else:
            self._cost_now += now * share
            self._cost_then += then * share

    def said(self) -> Impact:
        said = self._impact
        said.cost_now, said.cost_then = round(self._cost_now), round(self._cost_then)
        said.moves = [Move(*places, part) for places, part in _most(self._moves)]
        said.lost = [KeyChange(*whose, part) for whose, part in _most(self._lost)]
        said.gained = [KeyChange(*whose, part) for whose, part in _most(self._gained)]
        said.unmatched = [
            Unmatched(route.name, route.pattern, self._was.taken[route.id])
            for route in self._will.snapshot.routes
            if not self._will.taken[route.id]
        ]
        return said


def flows(was: Shares, will: Shares) -> Iterator[tuple[Place | str, Place | str, float]]:
    """From where to where which share goes, with as few as can be that move: a draw that comes out otherwise
    the second time is no change."""
    lacking: dict[Place | str, float] = {}
    for place, share in will.items():
        stays = min(share, was.get(place, 0.0))
        if stays > _LEAST:
            yield place, place, stays
        if share - stays > _LEAST:
            lacking[place] = share - stays
    whole = sum(lacking.values())
    for source, share in was.items():
        leaves = share - min(share, will.get(source, 0.0))
        if leaves > _LEAST:
            for place, part in lacking.items():
                yield source, place, leaves * part / whole


def _chance(key: ApiKey) -> Chance:
    # The same draws for both configurations: where nothing has changed, nothing differs.
    def word(affinity: Affinity) -> str:
        # Sessions are not in the ledger: they are spread as the weights say.
        return key.prefix if affinity == "key" else ""

    return Chance(random.Random(0).random, word=word)


def _place(target: Target, alike: Alike) -> Place | str:
    kind, model = target.provider.kind, target.upstream_model or alike.facts.model
    able = alike.surface in kind.passes or alike.surface in LOCAL
    if not able and choose(alike.surface, kind.dialects(model)) is None:
        return SURFACE
    return Place(target.provider.name, kind.name, model)


def _whose(alike: Alike, why: str) -> _Whose:
    return alike.key, alike.team, alike.facts.model, why


def _most(sums: Mapping[_Name, float]) -> list[tuple[_Name, float]]:
    return sorted(sums.items(), key=lambda each: -each[1])
