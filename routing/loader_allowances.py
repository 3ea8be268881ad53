"""Rows of limits and budgets to what each key and each provider is given of them.

A row that cannot be understood becomes one that lets nothing through, for whomever it names: leaving it out
would widen what a key may do.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Container, Iterable
from decimal import Decimal
from typing import Any, Generic, TypeVar, get_args

from routing.allowances import NANO, WINDOWS, Budget, Limit, LimitKind, Period, Unit
from routing.readable import UNREADABLE
from routing.tables import Row

logger = logging.getLogger(__name__)

# Where a limit's row names its provider.
_PROVIDER = 7

Built = TypeVar("Built", Limit, Budget)


class Owned(Generic[Built]):
    """Rows by owner, so that handing them out costs the same however many there are."""

    def __init__(self, rows: Iterable[Built]) -> None:
        self._common: list[Built] = []
        self._teams: dict[int, list[Built]] = defaultdict(list)
        self._keys: dict[int, list[Built]] = defaultdict(list)
        for row in rows:
            if row.key_id is not None:
                self._keys[row.key_id].append(row)
            elif row.team_id is not None:
                self._teams[row.team_id].append(row)
            else:
                self._common.append(row)

    def of(self, team_id: int, key_id: int) -> tuple[Built, ...]:
        """A key's own, its team's and everybody's."""
        return (*self._keys.get(key_id, ()), *self._teams.get(team_id, ()), *self._common)


class Allowances:
    """All limits and budgets of one revision, to be handed out."""

    def __init__(self, limits: Iterable[Row], budgets: Iterable[Row], providers: Container[str]) -> None:
        self._by_provider: dict[str, list[Limit]] = defaultdict(list)
        general: list[Limit] = []
        for row in limits:
            limit = _guarded("limit", row, _limit, _closed_limit)
            provider = row[_PROVIDER] if isinstance(row[_PROVIDER], str) else ""
            if not provider:
                general.append(limit)
                continue
            if provider not in providers:
                logger.error("limit %s counts nothing: no provider has the name that it gives", row[0])
            self._by_provider[provider].append(limit)
        self._limits = Owned(general)
        self._budgets = Owned(_guarded("budget", row, _budget, _closed_budget) for row in budgets)

    def limits(self, team_id: int, key_id: int) -> tuple[Limit, ...]:
        """A key's own, its team's and everybody's."""
        return self._limits.of(team_id, key_id)

    def budgets(self, team_id: int, key_id: int) -> tuple[Budget, ...]:
        """A key's own, its team's and everybody's."""
        return self._budgets.of(team_id, key_id)

    def of_provider(self, name: str) -> tuple[Limit, ...]:
        """Everyone's limits of what goes to this provider."""
        return tuple(self._by_provider.get(name, ()))


def _guarded(what: str, row: Row, build: Callable[[Row], Built], barrier: Callable[[Any], Built]) -> Built:
    """What `build` makes of the row; where it refuses, a row of the same owner that lets nothing through."""
    try:
        return build(row)
    except (*UNREADABLE, KeyError) as error:
        logger.error("%s %s cannot be used and lets nothing through: %s", what, row[0], type(error).__name__)  # noqa: TRY400 - a trace may quote the row's values
        return barrier(row)


def _limit(row: Row) -> Limit:
    # What was kept on disk before limits could let calls wait has no such column.
    pk, team_id, key_id, kind, amount, per, model, _provider, *waits = row
    if kind not in get_args(LimitKind):
        raise ValueError("the kind is none of its words")
    return Limit(
        id=pk,
        kind=kind,
        amount=_above_0(amount),
        span=0 if kind == "concurrency" else WINDOWS[per],
        model=_word(model),
        team_id=_owner(team_id),
        key_id=_owner(key_id),
        wait_seconds=_seconds(waits[0]) if waits and kind == "concurrency" else 0.0,
    )


def _closed_limit(row: Row) -> Limit:
    return Limit(row[0], "concurrency", 0, 0, team_id=_whose(row[1]), key_id=_whose(row[2]))


def _budget(row: Row) -> Budget:
    pk, team_id, key_id, unit, amount, period, hard, webhook_url, owner = row
    if unit not in get_args(Unit) or period not in get_args(Period):
        raise ValueError("the unit or the period is none of its words")
    if not isinstance(hard, (bool, int)):
        raise TypeError("hard is neither yes nor no")
    exact = Decimal(_word(amount)) * (NANO if unit == "usd" else 1)
    return Budget(
        id=pk,
        unit=unit,
        amount=_above_0(int(exact)),
        period=period,
        hard=bool(hard),
        webhook_url=_word(webhook_url),
        owner=_word(owner),
        team_id=_owner(team_id),
        key_id=_owner(key_id),
    )


def _closed_budget(row: Row) -> Budget:
    return Budget(row[0], "tokens", 0, "total", team_id=_whose(row[1]), key_id=_whose(row[2]))


def _above_0(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError("an amount is above 0")
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise ValueError("a wait is a number of seconds")
    return float(value)


def _word(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("expected text")
    return value


def _owner(value: object) -> int | None:
    if value is not None and not isinstance(value, int):
        raise TypeError("the owner is no row's number")
    return value


def _whose(value: object) -> int | None:
    return value if isinstance(value, int) else None
