"""What a row of the history is called in the words of people."""

from __future__ import annotations

from routing.history import STEERING, Place, State, Values


def name(place: Place, *states: State) -> str:
    """A row in the words of people."""
    for state in states:
        values = state.get(place)
        if values is not None:
            break
    else:
        values = {}
    label = values.get("name") or values.get("pattern") or values.get("label") or values.get("prefix")
    words = str(STEERING[place.table]._meta.verbose_name)
    if place.table == "target":
        label = _target(values, *states)
    elif place.table in ("limit", "budget"):
        label = f"of {values.get('amount')} ({place.row})"
    return f"{words} {label or place.row}"


def _target(values: Values, *states: State) -> str:
    def of(table: str, column: str) -> str:
        place = Place(table, values.get(column, 0))
        found = next((state[place] for state in states if place in state), {})
        return str(found.get("name", place.row))

    model = values.get("upstream_model")
    where = of("provider", "provider_id") + (f"/{model}" if model else "")
    return f"{where} of {of('route', 'route_id')}"
