"""What a row of the history is called in the words of people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from routing.history import STEERING, Place, State, Values

_REFERENCES: Mapping[str, str] = {**{f"{table}_id": table for table in STEERING}, "replaces_id": "key"}


def name(place: Place, *states: State) -> str:
    """A row in the words of people."""
    for state in states:
        values = state.get(place)
        if values is not None:
            break
    else:
        values = {}
    label = _label(values)
    words = str(STEERING[place.table]._meta.verbose_name)
    if place.table == "target":
        label = _target(values, *states)
    elif place.table in ("limit", "budget"):
        label = f"of {values.get('amount')} ({place.row})"
    return f"{words} {label or place.row}"


def named(fields: Mapping[str, Any], *states: State) -> dict[str, Any]:
    """What was and is of each field, with a reference to another row as its name and not as its number."""
    told: dict[str, Any] = {}
    for key, pair in fields.items():
        table = _REFERENCES.get(key)
        if table is None or not isinstance(pair, list):
            told[key] = pair
        else:
            told[key.removesuffix("_id")] = [_referred(table, each, states) for each in pair]
    return told


def _referred(table: str, row: int | None, states: Sequence[State]) -> str | int | None:
    if row is None:
        return None
    place = Place(table, row)
    return next((_label(state[place]) for state in states if place in state), None) or row


def _label(values: Values) -> str | None:
    found: str | None = (
        values.get("name") or values.get("pattern") or values.get("label") or values.get("prefix")
    )
    return found


def _target(values: Values, *states: State) -> str:
    def of(table: str, column: str) -> str:
        place = Place(table, values.get(column, 0))
        found = next((state[place] for state in states if place in state), {})
        return str(found.get("name", place.row))

    model = values.get("upstream_model")
    where = of("provider", "provider_id") + (f"/{model}" if model else "")
    return f"{where} of {of('route', 'route_id')}"
