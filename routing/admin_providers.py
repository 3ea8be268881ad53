"""The admin's pages of providers, published, with the use of their credentials."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.rights import Action, may
from providers.admin import CredentialInline, ProviderAdmin
from providers.models import Provider
from routing.admin_base import CsvExport, Published
from routing.credential_use import providers_with_use, safe_to_remove, with_use

_USE = ("last_used", "safe")


class UsedCredentialInline(CredentialInline):
    """Credentials with their last use."""

    fields = (*CredentialInline.fields, *_USE)
    readonly_fields = (*CredentialInline.readonly_fields, *_USE)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return with_use(super().get_queryset(request))

    @admin.display(description="Last used")
    def last_used(self, obj: Any) -> str:
        return moment(obj.last_used) if obj.pk else ""

    @admin.display(description="Safe to remove")
    def safe(self, obj: Any) -> str:
        if not obj.pk:
            return ""
        if obj.keeps:
            return "no: teams have files or batches in its account"
        return "yes" if safe_to_remove(obj) else "no: in use, or not known for long enough"


class PublishedProviderAdmin(ProviderAdmin, Published, CsvExport):
    """Providers, published."""

    inlines = (UsedCredentialInline,)
    list_display = (*ProviderAdmin.list_display, "last_used")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        return providers_with_use(super().get_queryset(request))

    @admin.display(description="Secret last used", empty_value="-")
    def last_used(self, obj: Any) -> str | None:
        """Empty where it has none."""
        return moment(obj.last_used) if obj.last_used is not None or obj.usable else None

    def has_test_permission(self, request: HttpRequest, _obj: object = None) -> bool:
        return may(request.user, Action.TEST_PROVIDER)


def moment(used: datetime | None) -> str:
    """A last use, for people."""
    return "never" if used is None else f"{used:%Y-%m-%d %H:%M} UTC"
