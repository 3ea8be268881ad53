"""One pure function that decides where a request goes, and says why not elsewhere.

Runtime, explain, lint and replay all call `plan`, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Protocol

from msgspec import Struct, field

from dialects.types import Facts
from routing.fit import asks_much, unfit
from routing.snapshot import Affinity, ApiKey, Route, Snapshot, Target

# Without a measurement a target counts as this quick: new ones are tried soon and not flooded.
_UNKNOWN_LATENCY = 0.5
# Tokens of an answer to compare prices by where the client sets no cap.
_USUAL_ANSWER = 500


class Condition(Struct, frozen=True, gc=False):
    """How a target is at this moment.

    `latency`: seconds to its first byte, smoothed; None: not known. `ramp`: the share of its weight that it
    may take, below 1 for a while after a recovery. `out`: why it takes no calls now, None when it does; then
    `ready_in` is when it may again, in seconds, and `last_resort` says that it is asked all the same where
    nothing else is left. `full`: all its places are taken.
    """

    in_flight: int = 0
    latency: float | None = None
    ramp: float = 1.0
    out: str | None = None
    ready_in: float = 0.0
    last_resort: bool = False
    full: bool = False


FINE = Condition()


class Live(Protocol):
    """Knows how targets are now."""

    def condition(self, target: Target, /) -> Condition: ...


class Calm:
    """Every target is fine: for a preview without live state."""

    def condition(self, _target: Target) -> Condition:
        return FINE


CALM = Calm()


class LeftOut(Struct, frozen=True):
    """A target that was not chosen, and the reason in plain words."""

    target: Target
    reason: str


class Plan(Struct, frozen=True):
    """The route that matched (None: no route) and its targets.

    `candidates` in the order to try; `full`: those that would be but have no place left, in the same order;
    `spares`: those that wait for a kind of failure, in order; `left_out` with reasons. `panic`: no target is
    well, and the candidates are those that are the least unlikely. `ready_in`: seconds until one of the left
    out may take calls again, where that is known.

    Where no target's model can serve the request, as far as is known, all are candidates as if it could: the
    catalogue may be behind and a prompt's length is a guess, and the provider's own refusal says more.
    """

    route: Route | None
    candidates: tuple[Target, ...] = ()
    full: tuple[Target, ...] = ()
    spares: tuple[Target, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    panic: bool = False
    ready_in: float | None = None


# Draws a number in [0, 1): handed in, so that the plan is pure and a replay can repeat it.
Draw = Callable[[], float]


class Chance(Struct, frozen=True):
    """What a plan depends on beside configuration and request: the draw, how targets are now, and what a
    call has in common with those that belong to it ("" for nothing), asked for by a route that keeps them
    together."""

    draw: Draw
    live: Live = field(default=CALM)
    word: Callable[[Affinity], str] = field(default=lambda _: "")


def allowed(key: ApiKey, model: str) -> bool:
    """True when this key may use this model name."""
    return not key.allowed_models or any(
        model.startswith(entry[:-1]) if entry.endswith("*") else model == entry
        for entry in key.allowed_models
    )


def match(snapshot: Snapshot, model: str, team_id: int | None) -> Route | None:
    """The route for a model name: exact before prefix, longest prefix first, a team's own before common."""
    for route in snapshot.exact.get(model, ()):
        if route.team_id in (None, team_id):
            return route
    for length in snapshot.prefix_lengths:
        if length > len(model):
            continue
        for route in snapshot.prefixes.get(model[:length], ()):
            if route.team_id in (None, team_id):
                return route
    return None


def plan(snapshot: Snapshot, facts: Facts, team_id: int | None, chance: Chance) -> Plan:
    """Where `facts.model` goes for this team: tiers in order, within a tier as the route balances."""
    route = match(snapshot, facts.model, team_id)
    return Plan(route=None) if route is None else plan_along(route, snapshot, facts, chance)


def plan_along(route: Route, snapshot: Snapshot, facts: Facts, chance: Chance) -> Plan:
    """Where a request goes whose route is known."""
    if len(route.targets) == 1:
        only = _only(route, chance.live)
        if only is not None:
            return only
    sorting = _Sorting(snapshot, facts, route, chance)
    for target in route.targets:
        sorting.add(target)
    return sorting.plan()


def _only(route: Route, live: Live) -> Plan | None:
    """The plan of a route whose one target is well: there is nothing to choose. None: look closer."""
    [target] = route.targets
    if target.after or unusable(target) is not None:
        return None
    condition = live.condition(target)
    return None if condition.out is not None or condition.full else Plan(route, (target,))


class _Entry(Struct):
    target: Target
    condition: Condition
    # Why its model cannot serve the request.
    unfit: str | None = None


class _Sorting:
    """A route's targets on their way into a plan."""

    def __init__(self, snapshot: Snapshot, facts: Facts, route: Route, chance: Chance) -> None:
        self._snapshot = snapshot
        self._facts = facts
        self._route = route
        self._chance = chance
        self._word = chance.word(route.affinity) if route.affinity != "none" else ""
        self._looks = asks_much(facts)
        # A target that can serve the request takes calls, or will by itself.
        self._fits = False
        self._usable: list[_Entry] = []
        self._full: list[_Entry] = []
        self._last: list[_Entry] = []
        self._spares: list[_Entry] = []
        self._left_out: list[LeftOut] = []
        self._ready_in: float | None = None

    def add(self, target: Target) -> None:
        reason = unusable(target)
        if reason is not None:
            self._left_out.append(LeftOut(target, reason))
            return
        condition = self._chance.live.condition(target)
        lacking = unfit(self._snapshot, self._facts, target) if self._looks else None
        entry = _Entry(target, condition, lacking)
        if lacking is None and not target.after:
            self._fits |= condition.out is None or condition.last_resort or condition.ready_in > 0
        if condition.out is not None:
            self._out(entry, condition.out)
        elif target.after:
            self._spares.append(entry)
        elif condition.full:
            self._full.append(entry)
        else:
            self._usable.append(entry)

    def _out(self, entry: _Entry, why: str) -> None:
        condition = entry.condition
        self._left_out.append(LeftOut(entry.target, why))
        if condition.last_resort and not entry.target.after:
            self._last.append(entry)
        if self._ready_in is None or condition.ready_in < self._ready_in:
            self._ready_in = condition.ready_in

    def _fitting(self, entries: list[_Entry]) -> list[_Entry]:
        """Those that can serve the request; where nobody can, all."""
        if not self._fits:
            return entries
        for entry in entries:
            if entry.unfit is not None and entry.condition.out is None:
                self._left_out.append(LeftOut(entry.target, entry.unfit))
        return [entry for entry in entries if entry.unfit is None]

    def plan(self) -> Plan:
        if self._looks:
            self._usable = self._fitting(self._usable)
            self._full = self._fitting(self._full)
            self._last = self._fitting(self._last)
            self._spares = self._fitting(self._spares)
        self._left_out += (
            LeftOut(each.target, f"all its {each.target.max_in_flight} places are taken")
            for each in self._full
        )
        self._left_out += (LeftOut(each.target, _waits_for(each.target)) for each in self._spares)
        panic = not self._usable and not self._full and bool(self._last)
        if panic:
            last = sorted(self._last, key=lambda entry: (entry.condition.ready_in, entry.target.tier))
            candidates = tuple(entry.target for entry in last)
        else:
            candidates = self._ordered(self._usable)
        return Plan(
            route=self._route,
            candidates=candidates,
            full=self._ordered(self._full),
            spares=tuple(sorted((entry.target for entry in self._spares), key=lambda target: target.tier)),
            left_out=tuple(self._left_out),
            panic=panic,
            ready_in=self._ready_in,
        )

    def _ordered(self, entries: Sequence[_Entry]) -> tuple[Target, ...]:
        if len(entries) < 2:
            return tuple(entry.target for entry in entries)
        keyed = [(entry.target.tier, *self._rank(entry), place) for place, entry in enumerate(entries)]
        ordered = [entries[key[-1]] for key in sorted(keyed)]
        if self._route.balance == "latency" and not self._word:
            self._better_of_two(ordered)
        return tuple(entry.target for entry in ordered)

    @staticmethod
    def _better_of_two(ordered: list[_Entry]) -> None:
        """Of the first two in a random order the quicker one goes first. Not the quickest of all: every
        replica would send its calls to the same one, until that is the slowest."""
        first, second = ordered[:2]
        if first.target.tier == second.target.tier and _peak(second) < _peak(first):
            ordered[0], ordered[1] = second, first

    def _rank(self, entry: _Entry) -> tuple[float, float]:
        """The lower, the earlier; the second breaks ties in proportion to the weights."""
        condition, balance = entry.condition, self._route.balance
        share = entry.target.weight * condition.ramp
        drawn = self._drawn(entry.target, share)
        if self._word:
            # Rendezvous hashing: who loses a target moves, all others stay where they are.
            return drawn, 0.0
        if balance == "least_in_flight":
            return (condition.in_flight + 1) / share, drawn
        if balance == "cheapest":
            return self._price(entry.target), drawn
        if balance == "ordered":
            return 0.0, 0.0
        return drawn, 0.0

    def _drawn(self, target: Target, share: float) -> float:
        # Efraimidis-Spirakis: sorting by u^(1/w) is a weighted random order without replacement.
        if self._word:
            word = f"{self._route.id}:{target.id}:{self._word}".encode()
            drawn = int.from_bytes(blake2b(word, digest_size=8).digest()) / 2**64
        else:
            drawn = self._chance.draw()
        return -float(drawn ** (1 / share))

    def _price(self, target: Target) -> float:
        """What this request costs there, roughly: its prompt and as much again as it may answer."""
        model = target.upstream_model or self._facts.model
        row = self._snapshot.catalogue.get((target.provider.kind.name, model))
        if row is None or row.price.input is None or row.price.output is None:
            # Unknown is not free: after all whose price is known.
            return float("inf")
        written = self._facts.max_tokens or _USUAL_ANSWER
        return row.price.input * (self._facts.prompt_chars / 4) + row.price.output * written


def _waits_for(target: Target) -> str:
    return f"it waits for a failure: {' or '.join(sorted(target.after)).replace('_', ' ')}"


def _peak(entry: _Entry) -> float:
    """Peak EWMA: time to first byte times those who wait for it already."""
    condition = entry.condition
    latency = _UNKNOWN_LATENCY if condition.latency is None else condition.latency
    return latency * (condition.in_flight + 1) / condition.ramp


def unusable(target: Target) -> str | None:
    """Why a target takes no calls, whatever happens; None: it may take some."""
    if not target.enabled:
        return "the target is disabled"
    if not target.provider.enabled:
        return f"the provider {target.provider.name} is disabled"
    if target.provider.drained:
        return f"the provider {target.provider.name} is drained until {target.provider.drained}"
    if target.weight <= 0:
        return "its weight is 0"
    if target.provider.kind.needs_credential and not target.provider.credentials:
        return f"the provider {target.provider.name} has no usable credential"
    return None
