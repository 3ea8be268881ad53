"""Limits and budgets in the configuration document: brought to the tables, and written from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from django.db import models
from msgspec import UNSET, UnsetType

from accounts.models import ApiKey, Budget, Limit, Team
from providers.models import Provider
from routing.configfile import BudgetDoc, LimitDoc, Parsed


class Saver(Protocol):
    """Who writes rows and keeps what was changed and what is wrong."""

    def save(self, row: models.Model, values: Mapping[str, Any], path: str) -> bool: ...

    def remove(self, row: models.Model) -> None: ...

    def complain(self, words: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _Place:
    """Whose rows, and where the document speaks of them. Without a team or key: everybody's."""

    team: Team | None
    key: ApiKey | None
    path: str


def bring_allowances(document: Parsed, keys: Sequence[ApiKey | None], saver: Saver) -> None:
    """Bring everybody's, teams' and keys' rows to what the document names. A list that it gives stands for
    all rows of that owner. `keys`: the rows of the document's keys, None where there is none."""
    _both(document.limits, document.budgets, _Place(None, None, ""), saver)
    for index, its in enumerate(document.teams):
        team = Team.objects.filter(name=its.name).first()
        if team is not None:
            _both(its.limits, its.budgets, _Place(team, None, f"teams[{index}]."), saver)
    for index, (doc, key) in enumerate(zip(document.keys, keys, strict=True)):
        if key is not None:
            _both(doc.limits, doc.budgets, _Place(None, key, f"keys[{index}]."), saver)


def _both(
    limits: list[LimitDoc] | UnsetType, budgets: list[BudgetDoc] | UnsetType, place: _Place, saver: Saver
) -> None:
    if limits is not UNSET:
        _limits(limits, place, saver)
    if budgets is not UNSET:
        _budgets(budgets, place, saver)


def _limits(docs: list[LimitDoc], place: _Place, saver: Saver) -> None:
    spare = {
        (row.kind, row.per, row.model, row.provider): row
        for row in Limit.objects.filter(team=place.team, key=place.key)
    }
    providers = set(Provider.objects.values_list("name", flat=True))
    for index, doc in enumerate(docs):
        path = f"{place.path}limits[{index}]"
        if doc.provider and doc.provider not in providers:
            saver.complain(f"{path}.provider: no provider is named {doc.provider!r}")
            continue
        per = "" if doc.kind == "concurrency" else doc.per
        same = (doc.kind, per, doc.model, doc.provider)
        kind, per, model, provider = same
        row = spare.pop(same, None) or Limit(
            team=place.team, key=place.key, kind=kind, per=per, model=model, provider=provider
        )
        saver.save(
            row, {"amount": doc.amount, "wait_seconds": doc.wait_seconds, "enabled": doc.enabled}, path
        )
    for row in spare.values():
        saver.remove(row)


def _budgets(docs: list[BudgetDoc], place: _Place, saver: Saver) -> None:
    spare = {
        (row.unit, row.period, row.hard): row for row in Budget.objects.filter(team=place.team, key=place.key)
    }
    for index, doc in enumerate(docs):
        unit, period, hard = same = (doc.unit, doc.period, doc.hard)
        row = spare.pop(same, None) or Budget(
            team=place.team, key=place.key, unit=unit, period=period, hard=hard
        )
        values = {
            "amount": Decimal(str(doc.amount)).quantize(Decimal("0.000001")),
            "webhook_url": doc.webhook_url,
            "enabled": doc.enabled,
        }
        saver.save(row, values, f"{place.path}budgets[{index}]")
    for row in spare.values():
        saver.remove(row)


class Exported:
    """Limits and budgets as a document gives them, handed out by owner."""

    def __init__(self, limits: Iterable[Limit], budgets: Iterable[Budget]) -> None:
        self._rows: dict[tuple[int | None, int | None], dict[str, Any]] = {}
        for limit in limits:
            self._add("limits", limit, _limit(limit))
        for budget in budgets:
            self._add("budgets", budget, _budget(budget))

    def of(self, team_id: int | None = None, key_id: int | None = None) -> dict[str, Any]:
        """What to add to a team, a key, or the document. Who has none has none of the words."""
        return self._rows.get((team_id, key_id), {})

    def _add(self, word: str, row: Limit | Budget, said: dict[str, Any]) -> None:
        self._rows.setdefault((row.team_id, row.key_id), {}).setdefault(word, []).append(said)


def _limit(row: Limit) -> dict[str, Any]:
    said: dict[str, Any] = {"kind": row.kind, "amount": row.amount}
    if row.per:
        said["per"] = row.per
    for name in ("model", "provider"):
        if getattr(row, name):
            said[name] = getattr(row, name)
    if row.wait_seconds:
        said["wait_seconds"] = row.wait_seconds
    return said if row.enabled else {**said, "enabled": False}


def _budget(row: Budget) -> dict[str, Any]:
    amount = row.amount
    said: dict[str, Any] = {
        "unit": row.unit,
        "amount": int(amount) if amount == amount.to_integral_value() else float(amount),
        "period": row.period,
        "hard": row.hard,
    }
    if row.webhook_url:
        said["webhook_url"] = row.webhook_url
    return said if row.enabled else {**said, "enabled": False}
