"""The configuration as of a revision, from what the history recorded: nothing is written, and nothing that a
way back would hold back is left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from django.db import models
from django.db.models import Q

from providers.crypto import Vault
from routing.history import STEERING, State, Values, made, state_at
from routing.snapshot import ApiKey
from routing.tables import COLUMNS, Row, Tables

# Rows of each table, saved or not.
Rows = Mapping[type[models.Model], list[Any]]

# Stands for each secret of then, which nobody has any more: who looks back sends nothing.
_STAND_IN = "as-of-then"


def rows_now() -> Rows:
    """All rows that steer traffic. Raises DatabaseError."""
    return {model: list(model._default_manager.order_by("id")) for model in STEERING.values()}


def rows_at(number: int) -> Rows:
    """All rows as of a revision; none of them may be saved. A column that is younger has its default. Raises
    UnknownRevisionError and DatabaseError."""
    rows: dict[type[models.Model], list[Any]] = {model: [] for model in STEERING.values()}
    for place, values in sorted(state_at(number).items()):
        model = STEERING[place.table]
        rows[model].append(made(model, {"id": place.row, **values}))
    return rows


class Sought(NamedTuple):
    """Keys that somebody asks for, by their ids or their prefixes."""

    ids: tuple[int, ...] = ()
    prefixes: tuple[str, ...] = ()

    def fits(self, key: ApiKey) -> bool:
        return key.id in self.ids or key.prefix in self.prefixes


def tables_at(number: int, vault: Vault, sought: Sought | None = None) -> Tables:
    """What read_tables would have read as of a revision, with secrets that open and are none; other values
    as JSON has them. `sought`: of keys these alone, of which there may be ten thousand. Raises
    UnknownRevisionError and DatabaseError."""
    on = _on(state_at(number, None if sought is None else _versions(sought)))
    names = {table: {row["id"]: row for row in on[table]} for table in ("team", "key")}
    routes = {row["id"] for row in on["route"] if row["enabled"]}
    targets = [row for row in on["target"] if row["route_id"] in routes]
    targets.sort(key=lambda row: (row["route_id"], row["tier"], -row["weight"], row["id"]))
    for row in on["credential"]:
        row["sealed"] = vault.seal(_STAND_IN, row["provider_id"])
    for row in on["budget"]:
        # As the tables give it.
        row["amount"] = str(row["amount"])
    budgets = list(filter(_counts, on["budget"]))
    return Tables(
        revision=number,
        teams=_rows("team", on["team"]),
        keys=_rows("key", [row for row in on["key"] if row["revoked_at"] is None]),
        providers=_rows("provider", on["provider"]),
        credentials=_rows("credential", filter(_counts, on["credential"])),
        routes=_rows("route", filter(_counts, on["route"])),
        targets=_rows("target", targets),
        catalogue=_rows("catalogue", on["catalogue"]),
        limits=_rows("limit", filter(_counts, on["limit"])),
        budgets=[
            (*line, _owner(row, names)) for row, line in zip(budgets, _rows("budget", budgets), strict=True)
        ],
    )


def _versions(sought: Sought) -> Q:
    # PostgreSQL has no word for a zero byte.
    prefixes = [prefix.replace("\0", "?") for prefix in sought.prefixes]
    return ~Q(table="key") | Q(row__in=sought.ids) | Q(values__prefix__in=prefixes)


def _on(state: State) -> dict[str, list[Values]]:
    """Each table's rows by id, as columns alone: of ten thousand keys Django's objects are most of the time.
    A column that is younger has its default."""
    defaults = {
        table: {
            field.attname: field.get_default()
            for field in model._meta.concrete_fields
            if not field.primary_key
        }
        for table, model in STEERING.items()
    }
    on: dict[str, list[Values]] = {table: [] for table in STEERING}
    for place, values in sorted(state.items()):
        on[place.table].append({**defaults[place.table], **values, "id": place.row})
    return on


def _counts(row: Values) -> bool:
    """Whether the loader reads it."""
    return bool(row["enabled"])


def _owner(row: Values, names: Mapping[str, Mapping[int, Values]]) -> str:
    if row["team_id"] in names["team"]:
        return str(names["team"][row["team_id"]]["name"])
    key = names["key"].get(row["key_id"])
    return str(key["prefix"]) if key else ""


def _rows(table: str, rows: Iterable[Values]) -> list[Row]:
    return [tuple(map(row.__getitem__, COLUMNS[table])) for row in rows]
