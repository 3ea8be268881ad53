"""Whose requests and usage a member of staff sees: every team's, or those of the teams that he belongs to."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db.models import Model, QuerySet

from accounts.models import TeamMember
from accounts.rights import Action, may

Row = TypeVar("Row", bound=Model)


def teams_of(user: Any) -> frozenset[int] | None:
    """The ids of the teams whose rows `user` sees; None: every team's. Nobody sees more because a team or a
    membership is gone: who has neither that permission nor a team sees nothing."""
    only = only_team(user)
    if only is not None:
        own = teams_of(user.behind)
        return frozenset({only}) if own is None or only in own else frozenset()
    if may(user, Action.READ_EVERY_TEAM):
        return None
    return frozenset(TeamMember.objects.filter(user=user.pk).values_list("team_id", flat=True))


def only_team(user: Any) -> int | None:
    """The id of the team that a management token is for alone; None: it is not so, or it is no token."""
    found: int | None = getattr(user, "only_team", None)
    return found


def seen_by(user: Any, rows: QuerySet[Row], column: str = "team_id") -> QuerySet[Row]:
    """Of rows with a team's id in `column` those that `user` sees. The permission to look at all is another
    matter."""
    teams = teams_of(user)
    return rows if teams is None else rows.filter(**{f"{column}__in": teams})
