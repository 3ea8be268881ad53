"""Rows to one frozen Snapshot.

A row that cannot be understood is left out and said so in the log; it never takes the others with it.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from datetime import datetime
from typing import TypeVar, get_args

from accounts.capture.setting import setting_of
from dialects.types import ModelFacts
from providers.crypto import Vault, VaultError
from providers.kinds import KINDS
from providers.wire import Timeouts
from routing import loader_traffic
from routing.caching import Purge
from routing.catalogue import Catalogue
from routing.loader_allowances import Allowances
from routing.loader_measures import Held, measure
from routing.readable import UNREADABLE, left_out
from routing.snapshot import (
    ApiKey,
    BreakerSettings,
    CatalogueModel,
    Credential,
    Losses,
    Price,
    Priority,
    Provider,
    Route,
    Snapshot,
    Target,
    Team,
)
from routing.tables import Row, Tables, read_tables

Built = TypeVar("Built")

_TIMEOUTS = len(Timeouts.__dataclass_fields__) - 1
_COLUMNS = _TIMEOUTS + len(BreakerSettings.__dataclass_fields__)

_ENTRY = re.compile(r"[^\s*]+\*?|\*")


def build_snapshot(vault: Vault) -> Snapshot:
    """Everything that steers traffic, as of one revision. Blocks. Raises DatabaseError."""
    return compile_tables(read_tables(), vault)


def compile_tables(tables: Tables, vault: Vault) -> Snapshot:
    """The snapshot that these rows mean. Their values may come from JSON: lists for tuples, text for moments
    and prices."""
    credentials = _credentials(tables.credentials, vault)
    allowances = Allowances(tables.limits, tables.budgets, {row[1] for row in tables.providers})
    held = Held(_each("measure", tables.measures, measure))
    providers = _providers(tables.providers, credentials, (allowances, held))
    priorities = {row[0]: row[2] for row in tables.teams if len(row) > 2}
    teams = {team.id: team for team in _each("team", tables.teams, _team)}
    targets = _targets(tables.targets, providers)
    routes = _routes(tables.routes, targets)
    keys = {key.digest: key for key in _keys(tables.keys, teams, priorities, allowances)}
    read: tuple[Sized, ...] = (
        tables.teams,
        tables.keys,
        tables.providers,
        tables.credentials,
        tables.routes,
        tables.targets,
    )
    used: tuple[Sized, ...] = (teams, keys, providers, *credentials.values(), routes, *targets.values())
    return Snapshot(
        revision=tables.revision,
        routes=routes,
        keys=keys,
        providers={provider.name: provider for provider in providers.values()},
        catalogue=Catalogue(_each("catalogue model", tables.catalogue, _model)),
        purges=tuple(_each("cache purge", tables.purges, _purge)),
        shed_until=held.shed_until,
        ends=held.ends,
        left_out=tables.unread + sum(map(len, read)) - sum(map(len, used)),
    )


def _team(row: Row) -> Team:
    # A kept file of an older version knows no more than the name.
    capture = setting_of(*row[4:8]) if len(row) > 7 else None
    return Team(id=row[0], name=_text(row[1]), batches=len(row) > 3 and row[3] is True, capture=capture)


def _keys(
    rows: Iterable[Row], teams: dict[int, Team], priorities: Mapping[int, object], allowances: Allowances
) -> Iterator[ApiKey]:
    def build(row: Row) -> ApiKey:
        # A kept file of an older version knows no priority.
        pk, prefix, digest, team_id, label, expires_at, allowed, *own = row
        if not isinstance(allowed, list) or not all(
            isinstance(entry, str) and _ENTRY.fullmatch(entry) for entry in allowed
        ):
            # Leaving the restriction out would widen what the key may do.
            raise ValueError("allowed_models is not a list of names")
        return ApiKey(
            id=pk,
            prefix=prefix,
            digest=bytes.fromhex(digest),
            team=teams[team_id],
            label=label,
            expires_at=_moment(expires_at),
            allowed_models=tuple(allowed),
            priority=_priority((own and own[0]) or priorities.get(team_id, "normal")),
            limits=allowances.limits(team_id, pk),
            budgets=allowances.budgets(team_id, pk),
        )

    return _each("API key", rows, build)


def _providers(
    rows: Iterable[Row], credentials: dict[int, list[Credential]], of_all: tuple[Allowances, Held]
) -> dict[int, Provider]:
    allowances, held = of_all

    def build(row: Row) -> Provider:
        pk, name, kind_name, base_url, private, enabled, *rest = row
        # The last one is younger than the others, and the kept rows of an older version end before it.
        seconds, breaker = rest[:_TIMEOUTS] + rest[_COLUMNS:], rest[_TIMEOUTS:_COLUMNS]
        kind = KINDS[kind_name]
        return Provider(
            id=pk,
            name=_text(name),
            kind=kind,
            base_url=_text(base_url or kind.base_url).rstrip("/"),
            timeouts=Timeouts(*map(_seconds, seconds)),
            credentials=tuple(credentials.get(pk, ())),
            allow_private=bool(private),
            enabled=bool(enabled),
            breaker=loader_traffic.breaker(breaker),
            limits=allowances.of_provider(name),
            drained=held.drained.get(pk, ""),
        )

    return {provider.id: provider for provider in _each("provider", rows, build)}


def _credentials(rows: Iterable[Row], vault: Vault) -> dict[int, list[Credential]]:
    def build(row: Row) -> tuple[int, Credential]:
        pk, provider_id, label, last4, sealed = row
        secret = vault.open(sealed, provider_id)
        return provider_id, Credential(id=pk, label=label, last4=last4, secret=secret)

    found: dict[int, list[Credential]] = defaultdict(list)
    for provider_id, credential in _each("credential", rows, build):
        found[provider_id].append(credential)
    return found


def _routes(rows: Iterable[Row], targets: dict[int, list[Target]]) -> tuple[Route, ...]:
    def build(row: Row) -> Route:
        pk, name, pattern, priority, team_id, losses, *ways = row
        if not isinstance(pattern, str) or not _ENTRY.fullmatch(pattern):
            raise ValueError("the pattern is neither a name nor a prefix")
        if losses not in get_args(Losses):
            raise ValueError("losses is none of its words")
        # A route that lost all its targets stays: its models must not slip to a wider route.
        return Route(
            id=pk,
            name=name,
            pattern=pattern,
            targets=tuple(targets.get(pk, ())),
            priority=_whole(priority),
            team_id=team_id,
            losses=losses,
            **loader_traffic.route(ways),
        )

    return tuple(_each("route", rows, build))


def _targets(rows: Iterable[Row], providers: dict[int, Provider]) -> dict[int, list[Target]]:
    def build(row: Row) -> tuple[int, Target]:
        pk, route_id, provider_id, model, weight, tier, patch, enabled, *ways = row
        if not isinstance(patch, dict):
            raise TypeError("body_patch is not an object")
        if _whole(weight) < 0:
            raise ValueError("a weight is not negative")
        return route_id, Target(
            id=pk,
            provider=providers[provider_id],
            upstream_model=model,
            weight=weight,
            tier=_whole(tier),
            body_patch=patch,
            enabled=bool(enabled),
            **loader_traffic.target(ways),
        )

    by_route: dict[int, list[Target]] = defaultdict(list)
    for route_id, target in _each("target", rows, build):
        by_route[route_id].append(target)
    return by_route


def _purge(row: Row) -> Purge:
    pk, team_id, route_id, key = row
    return Purge(id=_whole(pk), team_id=team_id, route_id=route_id, key=key)


def _model(row: Row) -> CatalogueModel:
    _, kind, name, window, most, capabilities, *prices = row
    if not isinstance(capabilities, list):
        raise TypeError("capabilities is not a list")
    facts = ModelFacts(
        name=_text(name),
        context_window=None if window is None else _whole(window),
        max_output_tokens=None if most is None else _whole(most),
        capabilities=frozenset(map(_text, capabilities)),
    )
    return CatalogueModel(provider_kind=kind, facts=facts, price=Price(*map(_money, prices)))


def _each(what: str, rows: Iterable[Row], build: Callable[[Row], Built]) -> Iterator[Built]:
    """What `build` makes of each row; a row that it refuses is logged and left out."""
    for row in rows:
        try:
            yield build(row)
        except (*UNREADABLE, KeyError, VaultError) as error:
            # The vault's words are our own; others' may quote the value.
            left_out(what, row[0], str(error) if isinstance(error, VaultError) else type(error).__name__)


def _priority(value: object) -> Priority:
    """One that cannot be understood is the lowest."""
    return "high" if value == "high" else "normal" if value == "normal" else "low"


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("expected text")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("expected a whole number")
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        raise ValueError("a timeout is above 0")
    return float(value)


def _moment(value: datetime | str | None) -> datetime | None:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if moment is not None and moment.tzinfo is None:
        # Compared with the present it would raise, at each call.
        raise ValueError("a moment without a time zone")
    return moment


def _money(value: object) -> float | None:
    if value is None:
        return None
    price = float(value)  # type: ignore[arg-type]  # whatever it is: float() or this function refuses it
    if not math.isfinite(price) or price < 0:
        raise ValueError("a price is not negative")
    return price
