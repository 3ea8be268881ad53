"""Holds risky changes back at the one place where everything is published, unless somebody else has approved
them."""

from __future__ import annotations

from typing import NamedTuple

from django.utils import timezone

from accounts.models import ApiKey
from providers.models import Credential
from routing.apps import approval_groups
from routing.freeze import trying
from routing.history import Place, Recorded, State
from routing.risks import risks
from routing.row_names import name
from routing.standing import sealed_of, standing_rows


class Leave(NamedTuple):
    """Why a revision needs nobody else. `by`: who approved it; "": it is no person's change, or the glass was
    broken."""

    by: str = ""


class Shown(NamedTuple):
    """A key that is shown only once, and its row as it was made."""

    row: ApiKey
    key: str


class NeedsApprovalError(Exception):
    """A risky change that nobody else has seen. It is taken back with the transaction; what it would have
    made of the rows is here, so that it can be kept. `seen`: the revision that it would have followed.
    `shown`: a key that begins to work with the approval."""

    def __init__(self, found: list[str], why: tuple[str, str], seen: int) -> None:
        super().__init__("This needs somebody else's approval: " + "; ".join(found))
        self.risks = found
        self.author, self.reason = why
        self.seen = seen
        self.after: State = standing_rows()
        self.sealed = {Place("credential", pk): sealed_of(pk) for pk in _credentials()}
        self.shown: Shown | None = None


def hold_back(recorded: Recorded, why: tuple[str, str], seen: int) -> None:
    """Raises NeedsApprovalError for what is risky here. What is only tried is none of its business."""
    groups = approval_groups()
    if not groups or trying():
        return
    told = risks(recorded.changed, recorded.replaced, recorded.now, timezone.now())
    before = {place: was for place, (was, _) in recorded.changed.items() if was is not None}
    found = [
        f"{name(each.place, recorded.now, before)} {each.words}" for group, each in told if group in groups
    ]
    if found:
        raise NeedsApprovalError(found, why, seen)


def _credentials() -> list[int]:
    return list(Credential.objects.order_by().values_list("pk", flat=True))
