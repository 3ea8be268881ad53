"""The page of files and batches that providers keep for teams: whose each is, and where."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.admin_base import TeamScoped
from accounts.audit import entry
from routing.admin_base import CsvExport
from routing.owned import OwnedObject


class OwnedObjectAdmin(TeamScoped, CsvExport):
    """To read. To delete a row deletes nothing at the provider: nobody can ask for it by the gateway any
    more. That is for what was deleted elsewhere, and for a team that is to go."""

    when_empty = (
        "No team has a file or a batch at a provider. Clients make them with /v1/files and /v1/batches."
    )

    list_display = ("upstream_id", "kind", "filename", "size", "provider", "team", "key", "created", "until")
    list_display_links = None
    list_filter = (
        "kind",
        ("provider", admin.RelatedOnlyFieldListFilter),
        ("team", admin.RelatedOnlyFieldListFilter),
        "created",
    )
    search_fields = ("upstream_id", "team__name")
    list_select_related = ("provider", "team", "key")
    list_per_page = 50
    csv_fields: tuple[str, ...] = ("upstream_id", "kind", "provider", "team", "key", "created", "expires")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: OwnedObject | None = None) -> bool:
        return False

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[OwnedObject]) -> Any:
        """Django calls this before it deletes."""
        for row in queryset:
            entry(f"{row._meta.verbose_name} {row}", "deleted", {"team": [str(row.team), None]}).save()
        return super().log_deletions(request, queryset)

    @admin.display(description="Name")
    def filename(self, obj: OwnedObject) -> str:
        return _shown(obj, "filename")

    @admin.display(description="Bytes")
    def size(self, obj: OwnedObject) -> str:
        return _shown(obj, "bytes")

    @admin.display(description="Until", ordering="expires")
    def until(self, obj: OwnedObject) -> Any:
        return None if obj.expires is None else datetime.fromtimestamp(obj.expires, UTC)


def _shown(obj: OwnedObject, name: str) -> str:
    """A field as the provider shows it, which may be of any type."""
    value = obj.shown.get(name) if isinstance(obj.shown, dict) else None
    return str(value)[:200] if isinstance(value, str | int) else ""
