"""The configuration as of a revision, from what the history recorded: nothing is written, and nothing that a
way back would hold back is left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import models

from accounts.models import ApiKey, Team
from providers.crypto import Vault
from routing.history import STEERING, made, state_at
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


def tables_at(number: int, vault: Vault) -> Tables:
    """What read_tables would have read as of a revision, with secrets that open and are none. Raises
    UnknownRevisionError and DatabaseError."""
    rows = rows_at(number)
    on = {table: [row for row in rows[model] if _counts(row)] for table, model in STEERING.items()}
    routes = {row.pk for row in on["route"]}
    targets = [row for row in on["target"] if row.route_id in routes]
    targets.sort(key=lambda row: (row.route_id, row.tier, -row.weight, row.pk))
    for row in on["credential"]:
        row.sealed = vault.seal(_STAND_IN, row.provider_id)
    for row in on["budget"]:
        # As the tables give it.
        row.amount = str(row.amount)
    teams = {team.pk: team.name for team in rows[Team]}
    keys = {key.pk: key.prefix for key in rows[ApiKey]}
    return Tables(
        revision=number,
        teams=_rows("team", on),
        keys=_rows("key", on),
        providers=_rows("provider", on),
        credentials=_rows("credential", on),
        routes=_rows("route", on),
        targets=_rows("target", {"target": targets}),
        catalogue=_rows("catalogue", on),
        limits=_rows("limit", on),
        budgets=[
            (*line, teams.get(row.team_id) or keys.get(row.key_id, ""))
            for row, line in zip(on["budget"], _rows("budget", on), strict=True)
        ],
    )


def _counts(row: Any) -> bool:
    """Whether the loader reads it. What is off is not read, but for what others refer to."""
    if isinstance(row, ApiKey):
        return row.revoked_at is None
    return bool(getattr(row, "enabled", True)) or row._meta.model_name in ("provider", "target")


def _rows(table: str, on: Mapping[str, list[Any]]) -> list[Row]:
    return [tuple(getattr(row, name) for name in COLUMNS[table]) for row in on[table]]
