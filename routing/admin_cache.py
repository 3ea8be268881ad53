"""The admin's way to purge cached answers: a page of purges, and an action on routes and teams."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from accounts.rights import Action, may
from routing.admin_base import CsvExport, Published
from routing.models import CachePurge, Route
from routing.revisions import hold


class CachePurgeAdmin(Published, CsvExport):
    """What was purged, when and by whom. A purge is added, and never changed or taken back."""

    when_empty = (
        "Nothing was purged. A purge lets nobody have what was kept before it, of a team, a route, or of all."
    )

    is_edit = False

    list_display = ("id", "what", "created", "author")
    list_display_links = None
    list_select_related = ("team", "route")
    list_per_page = 50
    fields = ("team", "route", "key")
    autocomplete_fields = ("team", "route")
    csv_fields: tuple[str, ...] = ("id", "team", "route", "key", "created", "author")

    @admin.display(description="What")
    def what(self, obj: CachePurge) -> str:
        return str(obj)

    def save_model(self, request: HttpRequest, obj: CachePurge, form: Any, change: Any) -> None:
        user: Any = request.user
        obj.author = user.get_username()
        super().save_model(request, obj, form, change)

    def has_change_permission(self, request: HttpRequest, obj: CachePurge | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: CachePurge | None = None) -> bool:
        return False


class PurgesCache(ModelAdmin):
    """Adds the action that purges what is cached of the chosen routes or teams."""

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions: dict[str, Any] = super().get_actions(request)
        if may(request.user, Action.PURGE_CACHE):
            actions["purge_cache"] = (type(self).purge_cache, "purge_cache", "Purge cached answers")
        return actions

    def purge_cache(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        hold()
        user: Any = request.user
        for row in queryset:
            where = {"route": row} if isinstance(row, Route) else {"team": row}
            purge = CachePurge.objects.create(author=user.get_username(), **where)
            self.log_change(request, row, [{"values": {"cache": f"purge {purge.pk}"}, "edit": False}])
        self.message_user(request, "Cached answers are given to nobody any more.", messages.SUCCESS)
