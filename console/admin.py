"""Management tokens in the admin: seen and revoked. They are made by `manage.py tokens issue`, so that none
is ever in a page."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from accounts.admin_base import BoundedLookups
from accounts.rights import Action, may
from accounts.tokens import ManagementToken
from console.admin_audit import AuditEntryAdmin
from console.admin_captures import CaptureAdmin

__all__ = ("AuditEntryAdmin", "CaptureAdmin", "ManagementTokenAdmin")


@admin.register(ManagementToken)
class ManagementTokenAdmin(BoundedLookups):
    """Tokens with whose they are and when they were last used."""

    when_empty = "Programs use the management API with a token: manage.py tokens issue makes one."

    list_display = (
        "shown",
        "user",
        "role",
        "team",
        "usable",
        "created",
        "expires_at",
        "used_at",
        "revoked_at",
    )
    list_display_links = None
    list_select_related = ("user", "role", "team")
    search_fields = ("label", "prefix", "user__username")
    list_per_page = 50
    actions = ("revoke_chosen",)

    @admin.display(description="Token", ordering="prefix")
    def shown(self, obj: ManagementToken) -> str:
        return str(obj)

    @admin.display(description="In use", boolean=True)
    def usable(self, obj: ManagementToken) -> bool:
        return obj.usable

    @admin.action(description="Revoke: refused from now on", permissions=["revoke"])
    def revoke_chosen(self, request: HttpRequest, queryset: QuerySet[ManagementToken]) -> None:
        rows = list(queryset.filter(revoked_at=None))
        for row in rows:
            row.revoked_at = timezone.now()
            row.save(update_fields=["revoked_at"])
            self.log_change(request, row, [{"changed": {"fields": ["Revoked"]}}])
        self.message_user(request, f"{len(rows)} revoked.", messages.SUCCESS)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """For Django, which asks before it offers the action."""
        return may(request.user, Action.REVOKE_TOKEN)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The right to change one is that to revoke it. Who could write into its row could make his own token
        another user's."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
