"""The admin's way to forget all that a team has captured: an action on the list of teams."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.capture.keep import forget_team
from accounts.models import Team
from accounts.rights import Action, may
from accounts.scope import seen_by


class ForgetsCaptures:
    """Adds the action that forgets all captures of the chosen teams."""

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions: dict[str, Any] = super().get_actions(request)  # type: ignore[misc]  # it stands before a page
        if may(request.user, Action.FORGET_CAPTURES):
            words = "Forget all captured prompts"
            actions["forget_captures"] = (type(self).forget_captures, "forget_captures", words)
        return actions

    def forget_captures(self, request: HttpRequest, queryset: QuerySet[Team]) -> None:
        said = self.message_user  # type: ignore[attr-defined]  # as above
        own = seen_by(request.user, queryset, "pk")
        count = sum(forget_team(team.pk) for team in own)
        said(request, f"{count} captures are forgotten.", messages.SUCCESS)
        if left := queryset.count() - own.count():
            said(request, f"{left} of the teams are not yours: theirs are left.", messages.WARNING)
