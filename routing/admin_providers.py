"""The admin's pages of providers, published, with the use of their credentials."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from accounts.rights import Action, may
from providers.admin import CredentialInline, ProviderAdmin
from providers.apps import breakers
from providers.models import Provider
from routing.admin_base import CsvExport, Published
from routing.credential_use import providers_with_use, safe_to_remove, with_use
from routing.freeze import trying
from routing.measures import begin, end, standing
from routing.models import Measure

# As the page of live traffic offers.
_MINUTES = 30
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
    actions = (*ProviderAdmin.actions, "drain", "end_drain")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        drains = standing().filter(provider=OuterRef("pk"))
        return providers_with_use(super().get_queryset(request).annotate(drained=Exists(drains)))

    @display(
        description="State",
        label={
            "ready": "success",
            "drained": "warning",
            "recovering": "warning",
            "needs a credential": "warning",
            "failing": "danger",
            "disabled": "danger",
            "unknown kind": "danger",
        },
    )
    def state(self, obj: Any) -> str:
        """What is configured; and of one that is ready how it does, by its breakers as the process that
        serves this page knows them."""
        configured: str = super().state(obj)
        if configured != "ready":
            return configured
        if obj.drained:
            return "drained"
        states = {each.state for each in breakers(obj.name)}
        if "open" in states or obj.breaker_mode == "open":
            return "failing"
        return "recovering" if "half_open" in states else "ready"

    def has_drain_permission(self, request: HttpRequest) -> bool:
        """For Django, which asks before it offers the actions."""
        return may(request.user, Action.TAKE_MEASURES)

    @admin.action(description="Drain for 30 minutes: calls under way go on", permissions=["drain"])
    def drain(self, request: HttpRequest, queryset: QuerySet[Provider]) -> None:
        self._measured(request, queryset, _drained)

    @admin.action(description="End the drain", permissions=["drain"])
    def end_drain(self, request: HttpRequest, queryset: QuerySet[Provider]) -> None:
        self._measured(request, queryset, _undrained)

    def _measured(
        self,
        request: HttpRequest,
        queryset: QuerySet[Provider],
        change: Callable[[Provider, str], int],
    ) -> None:
        if trying():
            # It would be taken back with the page.
            words = "A drain is no part of a draft: stop editing the draft first."
            self.message_user(request, words, messages.ERROR)
            return
        user: Any = request.user
        with transaction.atomic():
            count = sum(change(row, user.get_username()) for row in queryset)
        self.message_user(request, f"{count} changed.", messages.SUCCESS)

    @admin.display(description="Secret used", empty_value="-")
    def last_used(self, obj: Any) -> str | None:
        """Empty where it has none."""
        return moment(obj.last_used) if obj.last_used is not None or obj.usable else None

    def has_test_permission(self, request: HttpRequest, _obj: object = None) -> bool:
        return may(request.user, Action.TEST_PROVIDER)


def _drained(row: Provider, author: str) -> int:
    begin(Measure(kind="drain", provider=row, reason="Chosen in the list of providers."), _MINUTES, author)
    return 1


def _undrained(row: Provider, author: str) -> int:
    return sum(end(each, author) is not None for each in standing().filter(kind="drain", provider=row))


def moment(used: datetime | None) -> str:
    """A last use, for people."""
    return "never" if used is None else f"{used:%Y-%m-%d %H:%M} UTC"
