"""Rows to one frozen Snapshot: the only reader of the tables that traffic depends on.

A row that cannot be understood is left out and said so in the log; it never takes the others with it.
"""

from __future__ import annotations

import logging
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any, TypeVar

from django.db.models import QuerySet

from accounts import models as accounts
from dialects.types import ModelFacts
from providers import models as providers
from providers.crypto import Vault, VaultError
from providers.kinds import KINDS
from providers.wire import Timeouts
from routing import models as routing
from routing.catalogue import Catalogue
from routing.revisions import latest
from routing.snapshot import (
    ApiKey,
    CatalogueModel,
    Credential,
    Price,
    Provider,
    Route,
    Snapshot,
    Target,
    Team,
)

logger = logging.getLogger(__name__)

Built = TypeVar("Built")
Row = tuple[Any, ...]

# Edits that keep coming while the tables are read: after this many readings the last one serves, under the
# number from before it, so that the next look reads again.
_READINGS = 3
_ENTRY = re.compile(r"[^\s*]+\*?|\*")
# What a converter raises for a value that the column's type does not allow (SQLite checks none of them).
_UNREADABLE = (ValueError, TypeError, ArithmeticError)


def build_snapshot(vault: Vault) -> Snapshot:
    """Everything that steers traffic, as of one revision. Blocks; seven queries. Raises DatabaseError."""
    before = latest()
    for _ in range(_READINGS - 1):
        snapshot = _read(before, vault)
        after = latest()
        if after == before:
            return snapshot
        before = after
    return _read(before, vault)


def _read(revision: int, vault: Vault) -> Snapshot:
    found = _providers(vault)
    teams = {team.id: team for team in _each(accounts.Team.objects.values_list("id", "name"), _team)}
    return Snapshot(
        revision=revision,
        routes=_routes(found),
        keys={key.digest: key for key in _keys(teams)},
        providers={provider.name: provider for provider in found.values()},
        catalogue=Catalogue(_catalogue()),
    )


def _team(row: Row) -> Team:
    return Team(id=row[0], name=_text(row[1]))


def _keys(teams: dict[int, Team]) -> Iterator[ApiKey]:
    def build(row: Row) -> ApiKey:
        pk, prefix, digest, team_id, label, expires_at, allowed = row
        if not isinstance(allowed, list) or not all(
            isinstance(a, str) and _ENTRY.fullmatch(a) for a in allowed
        ):
            # Leaving the restriction out would widen what the key may do.
            raise ValueError("allowed_models is not a list of names")
        return ApiKey(
            id=pk,
            prefix=prefix,
            digest=bytes.fromhex(digest),
            team=teams[team_id],
            label=label,
            expires_at=expires_at,
            allowed_models=tuple(allowed),
        )

    rows = accounts.ApiKey.objects.filter(revoked_at=None).values_list(
        "id", "prefix", "digest", "team_id", "label", "expires_at", "allowed_models"
    )
    return _each(rows, build)


def _providers(vault: Vault) -> dict[int, Provider]:
    credentials = _credentials(vault)

    def build(row: Row) -> Provider:
        pk, name, kind_name, base_url, private, enabled, *seconds = row
        kind = KINDS[kind_name]
        return Provider(
            id=pk,
            name=_text(name),
            kind=kind,
            base_url=_text(base_url or kind.base_url).rstrip("/"),
            timeouts=Timeouts(*(_seconds(value) for value in seconds)),
            credentials=tuple(credentials[pk]),
            allow_private=bool(private),
            enabled=bool(enabled),
        )

    rows = providers.Provider.objects.values_list(
        "id", "name", "kind", "base_url", "allow_private_addresses", "enabled",
        "connect_timeout", "first_byte_timeout", "first_byte_stream_timeout", "idle_timeout", "total_timeout",
    )  # fmt: skip
    return {provider.id: provider for provider in _each(rows, build)}


def _credentials(vault: Vault) -> dict[int, list[Credential]]:
    found: dict[int, list[Credential]] = defaultdict(list)
    rows = providers.Credential.objects.filter(enabled=True).order_by("id")

    def build(row: Row) -> tuple[int, Credential]:
        pk, provider_id, label, last4, sealed = row
        secret = vault.open(sealed, provider_id)
        return provider_id, Credential(id=pk, label=label, last4=last4, secret=secret)

    for provider_id, credential in _each(
        rows.values_list("id", "provider_id", "label", "last4", "sealed"), build
    ):
        found[provider_id].append(credential)
    return found


def _routes(found: dict[int, Provider]) -> tuple[Route, ...]:
    targets = _targets(found)

    def build(row: Row) -> Route:
        pk, name, pattern, priority, team_id = row
        if not isinstance(pattern, str) or not _ENTRY.fullmatch(pattern):
            raise ValueError("the pattern is neither a name nor a prefix")
        if not isinstance(priority, int):
            raise TypeError("the priority is not a number")
        # A route that lost all its targets stays: its models must not slip to a wider route.
        return Route(
            id=pk, name=name, pattern=pattern, targets=tuple(targets[pk]), priority=priority, team_id=team_id
        )

    rows = routing.Route.objects.filter(enabled=True).order_by("id")
    return tuple(_each(rows.values_list("id", "name", "pattern", "priority", "team_id"), build))


def _targets(found: dict[int, Provider]) -> dict[int, list[Target]]:
    by_route: dict[int, list[Target]] = defaultdict(list)

    def build(row: Row) -> tuple[int, Target]:
        pk, route_id, provider_id, model, weight, tier, patch, enabled = row
        if not isinstance(patch, dict):
            raise TypeError("body_patch is not an object")
        if not (isinstance(weight, int) and isinstance(tier, int) and weight >= 0):
            raise ValueError("weight and tier must be whole numbers, not negative")
        return route_id, Target(
            id=pk,
            provider=found[provider_id],
            upstream_model=model,
            weight=weight,
            tier=tier,
            body_patch=patch,
            enabled=bool(enabled),
        )

    rows = routing.Target.objects.filter(route__enabled=True).order_by("route_id", "tier", "-weight", "id")
    columns = ("id", "route_id", "provider_id", "upstream_model", "weight", "tier", "body_patch", "enabled")
    for route_id, target in _each(rows.values_list(*columns), build):
        by_route[route_id].append(target)
    return by_route


def _catalogue() -> Iterator[CatalogueModel]:
    def build(row: Row) -> CatalogueModel:
        _, kind, name, window, most, capabilities, *prices = row
        if not isinstance(capabilities, list):
            raise TypeError("capabilities is not a list")
        facts = ModelFacts(
            name=_text(name),
            context_window=window,
            max_output_tokens=most,
            capabilities=frozenset(_text(word) for word in capabilities),
        )
        return CatalogueModel(provider_kind=kind, facts=facts, price=Price(*map(_money, prices)))

    rows = providers.CatalogueModel.objects.values_list(
        "id", "kind", "name", "context_window", "max_output_tokens", "capabilities",
        "input_price", "output_price", "cache_read_price", "cache_write_price",
    )  # fmt: skip
    return _each(rows, build)


def _each(rows: QuerySet[Any, Row], build: Callable[[Row], Built]) -> Iterator[Built]:
    """What `build` makes of each row; a row that it refuses is logged and left out."""
    for row in _fetch(rows):
        try:
            yield build(row)
        except (*_UNREADABLE, KeyError, VaultError) as error:
            _report(rows, row[0], error)


def _fetch(rows: QuerySet[Any, Row]) -> Iterable[Row]:
    """All rows that can be read; where one cannot, halving finds it without giving up the others."""
    try:
        return list(rows)
    except _UNREADABLE:
        return _halves(rows, list(rows.values_list("pk", flat=True)))


def _halves(rows: QuerySet[Any, Row], pks: list[int]) -> Iterator[Row]:
    try:
        yield from list(rows.filter(pk__in=pks))
    except _UNREADABLE as error:
        if len(pks) == 1:
            _report(rows, pks[0], error)
            return
        middle = len(pks) // 2
        yield from _halves(rows, pks[:middle])
        yield from _halves(rows, pks[middle:])


def _report(rows: QuerySet[Any, Row], pk: object, error: Exception) -> None:
    # The kind of error, and of others' errors not the text, which may quote the value.
    words = str(error) if isinstance(error, VaultError) else type(error).__name__
    logger.error("%s %s cannot be used and is left out: %s", rows.model._meta.verbose_name, pk, words)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("expected text")
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        raise ValueError("a timeout is above 0")
    return float(value)


def _money(value: Decimal | None) -> float | None:
    if value is None:
        return None
    price = float(value)
    if not math.isfinite(price) or price < 0:
        raise ValueError("a price is not negative")
    return price
