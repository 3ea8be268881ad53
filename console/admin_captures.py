"""The admin's pages of captured prompts: for who has the right and belongs to the team, and every look is
written down before anything is shown."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.html import format_html

from accounts.admin_base import BoundedLookups, CappedPaginator, TeamScoped
from accounts.capture.keep import forget_request, looked_at
from accounts.models import Capture, Team
from accounts.rights import Action, may
from providers.apps import vault
from providers.crypto import VaultError


@admin.register(Capture)
class CaptureAdmin(TeamScoped, BoundedLookups):
    """What was said and answered, to read and to forget."""

    when_empty = "No team has prompts kept. A team's page says whether its own are, and for how long."

    list_display = ("request_id", "at", "team_name", "surface", "status", "cached", "cut")
    list_filter = ("at", "surface", "cached")
    search_fields = ("request_id__exact",)
    fields = ("request_id", "at", "team_name", "surface", "status", "cached", "cut", "said")
    readonly_fields = fields
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator
    sortable_by = ()
    list_per_page = 50
    actions = ("forget_chosen",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Capture]:
        name = Team.objects.filter(pk=OuterRef("team_id")).values("name")
        rows: QuerySet[Capture] = super().get_queryset(request)
        return rows.annotate(team_named=Subquery(name[:1]))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Capture | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Capture | None = None) -> bool:
        # By the action, which says what it does.
        return False

    def has_forget_permission(self, request: HttpRequest) -> bool:
        """For Django, which asks before it offers the action."""
        return may(request.user, Action.FORGET_CAPTURES)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        found = super().get_object(request, object_id, from_field)
        if found is not None and self.has_view_permission(request, found):
            looked_at(found)
        return found

    @admin.display(description="Team")
    def team_name(self, obj: Any) -> str:
        return obj.team_named or f"team {obj.team_id}, which is gone"

    @admin.display(description="Prompt and answer")
    def said(self, obj: Capture) -> str:
        try:
            text = vault().open(obj.sealed, obj.owner)
        except VaultError:
            text = "No configured key opens it."
        return format_html('<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{}</pre>', text)

    @admin.action(description="Forget the chosen: for good", permissions=["forget"])
    def forget_chosen(self, request: HttpRequest, queryset: QuerySet[Capture]) -> None:
        rows = list(queryset)
        for row in rows:
            forget_request(row)
        self.message_user(request, f"{len(rows)} forgotten.", messages.SUCCESS)
