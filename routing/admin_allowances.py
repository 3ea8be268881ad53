"""The admin's pages of limits and budgets."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from accounts.models import Budget, Limit
from accounts.row_ids import is_id
from providers.models import Provider
from routing.admin_base import CsvExport, Published


class WhoseFilter(admin.SimpleListFilter):
    """Teams', keys' or everybody's."""

    title = "whose"
    parameter_name = "whose"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("team", "A team's"), ("key", "A key's"), ("everybody", "Everybody's")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        if chosen == "everybody":
            return queryset.filter(team=None, key=None)
        return queryset.exclude(**{chosen: None}) if chosen in ("team", "key") else queryset


class AllowanceAdmin(Published, CsvExport):
    """What limits and budgets have in common: whose they are, and that they can be switched off."""

    list_filter = (WhoseFilter, "enabled", "team")
    list_select_related = ("team", "key")
    search_fields = ("team__name", "key__prefix", "key__label")
    autocomplete_fields = ("team", "key")
    list_per_page = 50
    actions = ("enable", "disable")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """A link may say whose it is to be, and nothing else."""
        return {name: request.GET[name] for name in ("team", "key") if is_id(request.GET.get(name, ""))}

    @admin.display(description="Whose")
    def owner(self, obj: Limit | Budget) -> str:
        return obj.whose

    @display(description="State", label={"on": "success", "off": "danger"})
    def state(self, obj: Limit | Budget) -> str:
        return "on" if obj.enabled else "off"

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._switch(request, queryset, to=True)

    @admin.action(description="Disable: as if it did not exist", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._switch(request, queryset, to=False)

    def _switch(self, request: HttpRequest, queryset: QuerySet[Any], *, to: bool) -> None:
        message = [{"changed": {"fields": ["Enabled"]}}, {"values": {"enabled": [not to, to]}}]
        with transaction.atomic():
            for row in queryset.exclude(enabled=to):
                self.log_change(request, row, message)
                row.enabled = to
                row.save(update_fields=["enabled"])


class LimitForm(forms.ModelForm):
    """A limit; a provider is one of those that there are."""

    class Meta:
        model = Limit
        fields = ("team", "key", "kind", "amount", "per", "model", "provider", "wait_seconds", "enabled")

    def clean_provider(self) -> str:
        name: str = self.cleaned_data["provider"]
        if name and not Provider.objects.filter(name=name).exists():
            raise forms.ValidationError("No provider has this name.")
        return name


class LimitAdmin(AllowanceAdmin):
    """Limits: so many requests or tokens in a window of time, or requests at once."""

    when_empty = (
        "Nobody is held up: so many requests or tokens in a window, or requests at once, of everybody, a "
        "team or a key."
    )

    form = LimitForm
    list_display = ("__str__", "owner", "kind", "amount", "per", "model", "provider", "state")
    csv_fields: tuple[str, ...] = ("whose", "kind", "amount", "per", "model", "provider", "enabled")
    fieldsets = (
        (
            None,
            {
                "fields": (("team", "key"), ("kind", "amount", "per"), "enabled"),
                "description": "For a team, for a key, or, with neither, for everybody together.",
            },
        ),
        ("Of what", {"fields": ("model", "provider")}),
        ("Waiting", {"fields": ("wait_seconds",)}),
    )


class BudgetAdmin(AllowanceAdmin):
    """Budgets: so much money or so many tokens in a period of the calendar."""

    when_empty = (
        "Nobody's spending is bounded: so much money or so many tokens in a period, of everybody, a team "
        "or a key."
    )

    list_display = ("__str__", "owner", "unit", "amount", "period", "hard", "state")
    csv_fields: tuple[str, ...] = ("whose", "unit", "amount", "period", "hard", "webhook_url", "enabled")
    fieldsets = (
        (
            None,
            {
                "fields": (("team", "key"), ("amount", "unit", "period"), "hard", "enabled"),
                "description": "For a team, for a key, or, with neither, for everybody together.",
            },
        ),
        ("Told at 50, 80 and 100 %", {"fields": ("webhook_url",)}),
    )
