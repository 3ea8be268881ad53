"""The audit log's page: who did what, by which way, with what was before and after. Nobody changes it."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from unfold.decorators import display

from accounts.admin_base import CappedPaginator
from accounts.audit import REPLACED, AuditEntry
from accounts.ledger.admin_filters import Typed
from accounts.rights import Action, may
from routing.admin_base import CsvExport


class AuthorFilter(Typed):
    """By who did it, whole: a list of all would be the whole table read."""

    title = "author"
    inputs = (("author", "Author", "text"),)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        author = str(self.used_parameters.get("author", "")).strip()
        # PostgreSQL has no word for a zero byte.
        return queryset.filter(author=author.replace("\0", "?")) if author else queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(CsvExport):
    """Entries, newest first."""

    when_empty = "Who changed what is written here, whichever way it was changed."

    list_display = ("at", "author", "way", "action", "object", "reason", "part_of")
    list_filter = ("via", "action", "at", AuthorFilter)
    sortable_by = ("at",)
    search_fields = ("object", "author", "reason")
    search_help_text = "What it was done to, who did it, or why."
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator
    list_per_page = 50
    fields = ("at", "author", "via", "token", "address", "action", "object", "reason", "part_of", "values")
    readonly_fields = fields
    csv_fields: tuple[str, ...] = (
        "at",
        "author",
        "via",
        "token",
        "address",
        "action",
        "object",
        "reason",
        "revision",
        "changes",
    )

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Action.READ_AUDIT)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @display(
        description="By", label={"admin": "info", "api": "success", "process": "warning"}, ordering="via"
    )
    def way(self, obj: AuditEntry) -> str:
        return obj.via

    @admin.display(description="Revision", ordering="revision")
    def part_of(self, obj: AuditEntry) -> str:
        """A link to the revision; nothing for what is in none."""
        if obj.revision is None:
            return ""
        page = reverse("admin:routing_revision_change", args=(obj.revision,))
        return format_html('<a href="{}">{}</a>', page, obj.revision)

    @admin.display(description="Before and after")
    def values(self, obj: AuditEntry) -> str:
        """A table with a line for each field."""
        lines = format_html_join(
            "", "<tr><td>{}</td><td>{}</td><td>{}</td></tr>", map(_line, obj.changes.items())
        )
        head = "<thead><tr><th>{}</th><th>{}</th><th>{}</th></tr></thead>"
        named = format_html(head, "Field", "Before", "After")
        return format_html("<table>{}<tbody>{}</tbody></table>", named, lines) if lines else ""


def _line(field: tuple[str, Any]) -> tuple[str, str, str]:
    name, value = field
    if isinstance(value, list) and len(value) == 2:
        return name, _shown(value[0]), _shown(value[1])
    return name, "", value if value == REPLACED else _shown(value)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
