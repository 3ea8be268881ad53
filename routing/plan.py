"""One pure function that decides where a request goes, and says why not elsewhere.

Runtime, explain, lint and replay all call `plan`, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dialects.types import Facts
from routing.snapshot import ApiKey, Route, Snapshot, Target


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A target that was not chosen, and the reason in plain words."""

    target: Target
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The route that matched (None: no route), its targets in the order to try, and those left out."""

    route: Route | None
    candidates: tuple[Target, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


# Draws a number in [0, 1): handed in, so that the plan is pure and a replay can repeat it.
Draw = Callable[[], float]


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


def plan(snapshot: Snapshot, facts: Facts, team_id: int | None, draw: Draw) -> Plan:
    """Where `facts.model` goes for this team: tiers in order, within a tier a weighted random order."""
    route = match(snapshot, facts.model, team_id)
    if route is None:
        return Plan(route=None)
    usable: list[Target] = []
    left_out: list[LeftOut] = []
    for target in route.targets:
        reason = _unusable(target)
        if reason is None:
            usable.append(target)
        else:
            left_out.append(LeftOut(target, reason))
    return Plan(route=route, candidates=_ordered(usable, draw), left_out=tuple(left_out))


def _unusable(target: Target) -> str | None:
    if not target.enabled:
        return "the target is disabled"
    if not target.provider.enabled:
        return f"the provider {target.provider.name} is disabled"
    if target.weight <= 0:
        return "its weight is 0"
    if target.provider.kind.needs_credential and not target.provider.credentials:
        return f"the provider {target.provider.name} has no usable credential"
    return None


def _ordered(targets: list[Target], draw: Draw) -> tuple[Target, ...]:
    if len(targets) < 2:
        return tuple(targets)
    # Efraimidis-Spirakis: sorting by u^(1/w) is a weighted random order without replacement.
    return tuple(
        target
        for _, _, target in sorted(
            ((target.tier, -(draw() ** (1 / target.weight)), target) for target in targets),
            key=lambda entry: entry[:2],
        )
    )
