"""Which models a key may use: read from routes and catalogue, by the same functions that route a call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dialects.types import Facts
from routing.plan import Chance, allowed, plan
from routing.snapshot import ApiKey, Route, Snapshot, Target


@dataclass(frozen=True, slots=True)
class Listed:
    """A model that a key may ask for, and the provider that would be asked first."""

    id: str
    owner: str


def listed(snapshot: Snapshot, key: ApiKey) -> list[Listed]:
    """All models that are known by name, sorted: exact routes, and the catalogue's models where a route's
    prefix takes them. What a prefix takes beyond the catalogue cannot be listed, but `find` knows it."""
    found: dict[str, Listed] = {}
    for name in _names(snapshot):
        if name not in found:
            model = find(snapshot, key, name)
            if model is not None:
                found[name] = model
    return [found[name] for name in sorted(found)]


def find(snapshot: Snapshot, key: ApiKey, name: str) -> Listed | None:
    """The model `name` as this key may use it; None where it may not or no provider is ready for it."""
    if not allowed(key, name):
        return None
    chosen = plan(snapshot, Facts(model=name), key.team.id, Chance(_first))
    if not chosen.candidates:
        return None
    return Listed(id=name, owner=chosen.candidates[0].provider.name)


def _first() -> float:
    # Any draw will do: listing asks whether there is a target, not which.
    return 0.5


def _names(snapshot: Snapshot) -> Iterator[str]:
    kinds: dict[str, list[str]] = {}
    for kind, name in snapshot.catalogue:
        if not name.endswith("*"):
            kinds.setdefault(kind, []).append(name)
    for route in snapshot.routes:
        if not route.is_prefix:
            yield route.pattern
            continue
        for kind in {target.provider.kind.name for target in route.targets if _same_name(target)}:
            yield from (name for name in kinds.get(kind, ()) if _takes(snapshot, route, name))


def _same_name(target: Target) -> bool:
    return not target.upstream_model


def _takes(snapshot: Snapshot, route: Route, name: str) -> bool:
    """True when no longer prefix than this route's takes the name: a catch-all must not claim, for its own
    provider, what goes elsewhere."""
    if not name.startswith(route.stem) or name in snapshot.exact:
        return False
    longer = (n for n in snapshot.prefix_lengths if len(route.stem) < n <= len(name))
    return not any(name[:n] in snapshot.prefixes for n in longer)
