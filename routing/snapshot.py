"""The configuration as one frozen value per revision: what every request reads instead of the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from dialects.types import ModelFacts
from providers.kinds import Kind
from providers.wire import Timeouts

# What a route does with a client's fields that cannot travel to the provider's dialect: refuse the call, drop
# and name them in a header, or drop them without a header.
Losses = Literal["strict", "warn", "silent"]


@dataclass(frozen=True, slots=True)
class Credential:
    """A provider's secret, decrypted. Its repr never shows it."""

    id: int
    label: str
    last4: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Provider:
    """Where to send and as whom. `base_url` has no trailing slash."""

    id: int
    name: str
    kind: Kind
    base_url: str
    timeouts: Timeouts
    credentials: tuple[Credential, ...] = ()
    allow_private: bool = False
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens; None where unknown."""

    input: float | None = None
    output: float | None = None
    cache_read: float | None = None
    cache_write: float | None = None


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """A row of the model catalogue: facts for translation and planning, prices for the ledger."""

    provider_kind: str
    facts: ModelFacts
    price: Price = Price()


@dataclass(frozen=True, slots=True)
class Target:
    """One place a route can go. `upstream_model` "" means: the name that the client used.

    `tier`: lower is tried first; `weight`: share within its tier; `body_patch`: top-level fields set on
    the upstream's body after translation (None removes a field).
    """

    id: int
    provider: Provider
    upstream_model: str = ""
    weight: int = 1
    tier: int = 0
    body_patch: Mapping[str, Any] = field(default_factory=dict)
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Team:
    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Route:
    """Model name to targets. `pattern` is an exact name, or a prefix when it ends in `*` (`*` alone: any).

    `team_id` None: for every team; a team's own route wins over a common one of the same length.
    """

    id: int
    name: str
    pattern: str
    targets: tuple[Target, ...]
    priority: int = 0
    team_id: int | None = None
    losses: Losses = "warn"

    @property
    def is_prefix(self) -> bool:
        return self.pattern.endswith("*")

    @property
    def stem(self) -> str:
        """The pattern without its star."""
        return self.pattern[:-1] if self.is_prefix else self.pattern


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A gateway key, known by its keyed digest. `allowed_models`: exact names or `prefix*`; empty: all."""

    id: int
    prefix: str
    digest: bytes = field(repr=False)
    team: Team
    label: str = ""
    expires_at: datetime | None = None
    allowed_models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """One revision of everything that steers traffic. Immutable; a request keeps the one it was born with.

    `keys`: digest to key. `catalogue`: (provider kind, upstream model) to its row.
    Revoked keys and disabled rows of routes are not in it; disabled targets and providers are, so that
    a plan can say why it left them out.
    """

    revision: int
    routes: tuple[Route, ...] = ()
    keys: Mapping[bytes, ApiKey] = field(default_factory=dict)
    providers: Mapping[str, Provider] = field(default_factory=dict)
    catalogue: Mapping[tuple[str, str], CatalogueModel] = field(default_factory=dict)

    @cached_property
    def exact(self) -> Mapping[str, tuple[Route, ...]]:
        """Routes by exact model name, best first."""
        return _grouped(r for r in self.routes if not r.is_prefix)

    @cached_property
    def prefixes(self) -> Mapping[str, tuple[Route, ...]]:
        """Routes by prefix without the star, best first."""
        return _grouped(r for r in self.routes if r.is_prefix)

    @cached_property
    def prefix_lengths(self) -> tuple[int, ...]:
        """The lengths of prefix that occur, longest first: one dict look-up each, however many routes."""
        return tuple(sorted({len(p) for p in self.prefixes}, reverse=True))


def _grouped(routes: Any) -> dict[str, tuple[Route, ...]]:
    found: dict[str, list[Route]] = {}
    for route in routes:
        found.setdefault(route.stem, []).append(route)
    return {
        stem: tuple(sorted(group, key=lambda r: (r.team_id is None, -r.priority, r.id)))
        for stem, group in found.items()
    }


EMPTY = Snapshot(revision=0)
