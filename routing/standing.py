"""All rows that steer traffic with marks of their secrets, which is what drafts compare and keep."""

from __future__ import annotations

from typing import NamedTuple

from providers.models import Credential
from routing.history import Place, State, Values, mark, present

# A secret's own column is never compared or shown: its mark is.
MARK = "secret"


class Kept(NamedTuple):
    """A row for a draft."""

    base: Values | None
    values: Values | None
    sealed: str = ""
    destination: str = ""


def standing_rows() -> State:
    """All rows as the tables have them, of secrets their marks."""
    state = present()
    for pk, sealed, entered_for in Credential.objects.order_by().values_list("pk", "sealed", "entered_for"):
        place = Place("credential", pk)
        if place in state:
            state[place] |= {MARK: mark(sealed), "entered_for": entered_for}
    return state


def sealed_of(pk: int) -> tuple[str, str]:
    """A credential's sealed secret, and the address that it is for."""
    row = Credential.objects.select_related("provider").get(pk=pk)
    return row.sealed, row.entered_for or row.provider.destination
