"""The configuration as one frozen value per revision: what every request reads instead of the database."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from accounts.capture.setting import Capturing
from dialects.types import ModelFacts
from providers.kinds import Kind
from providers.wire import Timeouts
from routing.allowances import Budget, Limit
from routing.caching import Caching, Purge
from routing.semantic import Semantic

# What a route does with a client's fields that cannot travel to the provider's dialect: refuse the call, drop
# and name them in a header, or drop them without a header.
Losses = Literal["strict", "warn", "silent"]
# How a tier's targets are ordered: by a draw in proportion to their weights, by calls in flight, by time to
# first byte, by price, or as they stand.
Balance = Literal["weighted", "least_in_flight", "latency", "cheapest", "ordered"]
# What makes calls stay with one target: nothing, the API key (for a canary that some keys see and others
# never), or the session that the client names.
Affinity = Literal["none", "key", "session"]
# When a stream belongs to the client: with its first content, or when it is complete.
Integrity = Literal["fast", "hold-first", "atomic"]
# What becomes of a stream whose client has left: it is closed, and what it cost estimated, or read to its
# end.
OnDisconnect = Literal["cancel", "drain"]
# Failures after which a target that waits for one of them is tried.
FailureClass = Literal["outage", "rate_limit", "context_length", "content_policy"]
# What the operators say of a breaker: let it judge, or hold it open or closed.
BreakerMode = Literal["auto", "open", "closed"]
# Who goes first where places are short.
Priority = Literal["high", "normal", "low"]


@dataclass(frozen=True, slots=True)
class Credential:
    """A provider's secret, decrypted. Its repr never shows it."""

    id: int
    label: str
    last4: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a target counts as down: `consecutive` failures in a row, or a share of `ratio` among at least
    `minimum` attempts within the window. It is then left alone for `open_seconds`, and that much longer each
    time that a probe fails, up to the maximum.

    The defaults are those of proxies that have run for long: five in a row is no accident, half of twenty
    neither; most outages of providers are over in a minute, and asking a dead one each fifteen seconds costs
    it nothing.
    """

    consecutive: int = 5
    ratio: float = 0.5
    minimum: int = 20
    window_seconds: float = 30.0
    open_seconds: float = 15.0
    max_open_seconds: float = 300.0
    mode: BreakerMode = "auto"


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
    breaker: BreakerSettings = BreakerSettings()
    limits: tuple[Limit, ...] = ()
    # Until when operators keep new calls away, in words; "": they do not.
    drained: str = ""


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

    `tier`: lower is tried first; `weight`: share within its tier; `body_patch`: top-level fields set on the
    upstream's body after translation (None removes a field). `after`: empty for an ordinary target; else it
    is tried only when another has failed in one of these ways. `max_in_flight`: calls that it takes at once,
    per process; None: as many as come.
    """

    id: int
    provider: Provider
    upstream_model: str = ""
    weight: int = 1
    tier: int = 0
    body_patch: Mapping[str, Any] = field(default_factory=dict)
    enabled: bool = True
    after: frozenset[FailureClass] = frozenset()
    max_in_flight: int | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """A route's own timeouts in seconds; None: the provider's. Connecting, the first byte of a whole
    answer and of a stream, silence within a stream, all of it, and a client that takes nothing."""

    connect: float | None = None
    first_byte: float | None = None
    first_byte_stream: float | None = None
    idle: float | None = None
    total: float | None = None
    client_stall: float | None = None


# A route that sets none of them.
AS_PROVIDED = Patience()


@dataclass(frozen=True, slots=True)
class Queue:
    """What happens when all places of a route's targets are taken: up to `limit` calls wait up to
    `seconds` (0: none waits, all are refused at once). Ten seconds is what a person still waits for; a
    longer line than a hundred is not served in that time."""

    seconds: float = 10.0
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Team:
    """Who a key belongs to. `batches`: its keys may make batches although limits or budgets hold for them.
    `capture` None: nothing of its calls is kept but numbers and names."""

    id: int
    name: str
    batches: bool = False
    capture: Capturing | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Model name to targets. `pattern` is an exact name, or a prefix when it ends in `*` (`*` alone: any).

    `team_id` None: for every team; a team's own route wins over a common one of the same length. `tries`: how
    often one target is asked before the next. `late_fallback`: another target is asked for a whole answer
    that has not begun in time, which may then be billed twice. `caching` None: no answer is kept; `semantic`
    None: none is given to a question that is only like it.
    """

    id: int
    name: str
    pattern: str
    targets: tuple[Target, ...]
    priority: int = 0
    team_id: int | None = None
    losses: Losses = "warn"
    balance: Balance = "weighted"
    affinity: Affinity = "none"
    integrity: Integrity = "hold-first"
    on_disconnect: OnDisconnect = "cancel"
    # Once: what another target can answer at once should not wait for one that has just failed.
    tries: int = 1
    late_fallback: bool = False
    patience: Patience = AS_PROVIDED
    queue: Queue = Queue()
    caching: Caching | None = None
    semantic: Semantic | None = None

    @property
    def is_prefix(self) -> bool:
        return self.pattern.endswith("*")

    @property
    def stem(self) -> str:
        """The pattern without its star."""
        return self.pattern[:-1] if self.is_prefix else self.pattern


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A gateway key, known by its keyed digest. `allowed_models`: exact names or `prefix*`; empty: all.

    `limits` and `budgets`: its own, its team's and everybody's; a provider's are with the provider.
    """

    id: int
    prefix: str
    digest: bytes = field(repr=False)
    team: Team
    label: str = ""
    expires_at: datetime | None = None
    allowed_models: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    budgets: tuple[Budget, ...] = ()
    priority: Priority = "normal"


@dataclass(frozen=True)
class Snapshot:
    """One revision of everything that steers traffic. Immutable; a request keeps the one it was born with.

    `keys`: digest to key. `catalogue`: (provider kind, upstream model) to its row.
    Revoked keys and disabled rows of routes are not in it; disabled targets and providers are, so that
    a plan can say why it left them out. `shed_until`: until when calls of low priority are refused, in
    seconds since the epoch; 0.0: they are not. `ends`: when the first of the measures that hold is over;
    None: none does. `left_out`: how many rows could not be understood; the log names them.
    """

    revision: int
    routes: tuple[Route, ...] = ()
    keys: Mapping[bytes, ApiKey] = field(default_factory=dict)
    providers: Mapping[str, Provider] = field(default_factory=dict)
    catalogue: Mapping[tuple[str, str], CatalogueModel] = field(default_factory=dict)
    purges: tuple[Purge, ...] = ()
    shed_until: float = 0.0
    ends: float | None = None
    left_out: int = 0

    def sheds(self, priority: Priority) -> bool:
        """True when operators have calls of this priority refused."""
        return self.shed_until > 0.0 and priority == "low" and time.time() < self.shed_until

    def cache_epoch(self, team_id: int, route_id: int) -> int:
        """The last purge of answers for this team on this route; 0: there was none."""
        epochs = self._epochs
        if not epochs:
            return 0
        places = ((team_id, route_id), (team_id, None), (None, route_id), (None, None))
        return max(epochs.get(place, 0) for place in places)

    @cached_property
    def _epochs(self) -> Mapping[tuple[int | None, int | None], int]:
        found: dict[tuple[int | None, int | None], int] = {}
        for purge in self.purges:
            if not purge.key:
                place = purge.team_id, purge.route_id
                found[place] = max(purge.id, found.get(place, 0))
        return found

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
