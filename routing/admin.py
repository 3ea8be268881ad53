"""The admin's pages: routes and revisions, and the pages of providers and accounts made to publish.

Providers and accounts lie below and cannot publish; this room lies above both, so it is the one that
registers.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Prefetch, QuerySet, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.admin import TabularInline
from unfold.decorators import action, display
from unfold.forms import PaginationInlineFormSet

from accounts.admin import TeamAdmin
from accounts.admin_base import CappedPaginator
from accounts.capture.admin import ForgetsCaptures
from accounts.ledger.admin import RequestAdmin, UsageDayAdmin
from accounts.ledger.rows import RequestEntry, UsageDay
from accounts.models import ApiKey, Budget, Limit, Team
from providers.admin import CatalogueModelAdmin
from providers.models import CatalogueModel, Provider
from routing.admin_allowances import BudgetAdmin, LimitAdmin
from routing.admin_base import CsvExport, Published
from routing.admin_cache import CachePurgeAdmin, PurgesCache
from routing.admin_drafts import DraftAdmin
from routing.admin_home import may_explain
from routing.admin_keys import PublishedApiKeyAdmin
from routing.admin_losses import LOSS_FILTERS
from routing.admin_owned import OwnedObjectAdmin
from routing.admin_providers import PublishedProviderAdmin
from routing.admin_revisions import RevisionAdmin
from routing.admin_semantic import SemanticEventAdmin
from routing.models import CachePurge, Revision, Route, Target, TranslationLoss, check_route, check_targets
from routing.models_drafts import Draft
from routing.models_semantic import SemanticEvent
from routing.owned import OwnedObject

# As many as one sees without scrolling.
_SUMS = 10


class TargetFormSet(PaginationInlineFormSet):
    """A route's targets, of which one at least must be able to take a call."""

    def clean(self) -> None:
        super().clean()
        if any(self.errors) or not self.instance.enabled:
            return
        check_route(
            form.instance for form in self.forms if form.cleaned_data and not form.cleaned_data.get("DELETE")
        )


class TargetInline(TabularInline):
    """Targets in the order in which they are tried."""

    model = Target
    formset = TargetFormSet
    fields = (
        "tier",
        "weight",
        "provider",
        "upstream_model",
        "max_in_flight",
        "after",
        "body_patch",
        "enabled",
    )
    ordering = ("tier", "-weight", "id")
    verbose_name_plural = "targets: the lowest tier first, within a tier by weight"
    hide_title = True

    def get_extra(self, request: HttpRequest, obj: Route | None = None, **kwargs: Any) -> int:
        return 1 if obj is None else 0

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name in ("body_patch", "after"):
            # Nearly always empty: a row of the table is one line high, and grows where it is needed.
            field.widget.attrs["rows"] = 1
        return field


class RouteForm(forms.ModelForm):
    """A route; without a name it is called as its pattern."""

    class Meta:
        model = Route
        fields = (
            "name",
            "pattern",
            "priority",
            "team",
            "losses",
            "balance",
            "affinity",
            "integrity",
            "on_disconnect",
            "tries",
            "late_fallback",
            "queue_seconds",
            "queue_limit",
            "connect_timeout",
            "idle_timeout",
            "first_byte_timeout",
            "first_byte_stream_timeout",
            "total_timeout",
            "client_stall_timeout",
            "cache",
            "cache_ttl",
            "cache_scope",
            "cache_max_bytes",
            "cache_tools",
            "cache_temperature",
            "semantic",
            "semantic_threshold",
            "semantic_embedder",
            "semantic_guard",
            "semantic_context",
            "semantic_seconds",
            "semantic_prompts",
            "enabled",
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "name" in self.fields:
            self.fields["name"].required = False

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not cleaned.get("name") and cleaned.get("pattern"):
            team = cleaned.get("team")
            cleaned["name"] = f"{cleaned['pattern']}@{team}" if team else cleaned["pattern"]
        return cleaned


# How calls travel: tabs, because most routes are fine with the defaults.
_WAYS: tuple[Any, ...] = (
    ("Balance", {"fields": ("balance", "affinity"), "classes": ("tab",)}),
    ("Failures", {"fields": ("integrity", "tries", "late_fallback", "on_disconnect"), "classes": ("tab",)}),
    ("Queue", {"fields": (("queue_seconds", "queue_limit"),), "classes": ("tab",)}),
    (
        "Timeouts",
        {
            "fields": (
                ("connect_timeout", "idle_timeout"),
                ("first_byte_timeout", "first_byte_stream_timeout"),
                ("total_timeout", "client_stall_timeout"),
            ),
            "classes": ("tab",),
            "description": "Empty: the provider's.",
        },
    ),
    (
        "Cache",
        {
            "fields": (
                ("cache", "cache_scope"),
                ("cache_ttl", "cache_max_bytes"),
                ("cache_temperature", "cache_tools"),
            ),
            "classes": ("tab",),
        },
    ),
    (
        "Like questions",
        {
            "fields": (
                ("semantic", "semantic_threshold"),
                ("semantic_embedder", "semantic_seconds"),
                ("semantic_guard", "semantic_context"),
                "semantic_prompts",
            ),
            "classes": ("tab",),
        },
    ),
)


@admin.register(Route)
class RouteAdmin(PurgesCache, Published, CsvExport):
    """Routes with their targets."""

    when_empty = (
        "A route takes calls for a model, or for all that begin alike (gpt-*), to one or several "
        "providers. Without one every call is a 404."
    )

    form = RouteForm
    inlines = (TargetInline,)
    list_display = ("pattern", "name", "team_name", "priority", "goes_to", "losses", "state")
    list_filter = ("enabled", "losses", "targets__provider", "team")
    search_fields = ("name", "pattern", "targets__provider__name", "targets__upstream_model", "team__name")
    list_select_related = ("team",)
    autocomplete_fields = ("team",)
    list_per_page = 50
    actions = ("enable", "disable")
    actions_detail = ("explain",)
    csv_fields: tuple[str, ...] = ("name", "pattern", "team", "priority", "losses", "enabled")
    warn_unsaved_form = True
    readonly_fields = ("managed_by_env",)

    def get_fieldsets(self, request: HttpRequest, obj: Route | None = None) -> Any:
        fields: tuple[Any, ...] = (("pattern", "name"), ("team", "priority"), "losses", "enabled")
        # Of interest on the one route that follows the environment, and on no other.
        first = (*fields, "managed_by_env") if obj and obj.managed_by_env else fields
        return [(None, {"fields": first}), *_WAYS]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Route]:
        targets = Target.objects.select_related("provider")
        return super().get_queryset(request).prefetch_related(Prefetch("targets", targets))

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: Any) -> None:
        route: Route = form.instance
        if route.managed_by_env and (form.has_changed() or any(each.has_changed() for each in formsets)):
            route.managed_by_env = False
            route.save(update_fields=["managed_by_env"])
        super().save_related(request, form, formsets, change)

    @admin.display(description="Team", ordering="team__name")
    def team_name(self, obj: Route) -> str:
        return obj.team.name if obj.team else "every team"

    @admin.display(description="Goes to")
    def goes_to(self, obj: Route) -> str:
        tiers: dict[int, list[str]] = {}
        for target in obj.targets.all():
            if target.enabled and target.weight:
                tiers.setdefault(target.tier, []).append(str(target))
        return ", then ".join(" | ".join(names) for _, names in sorted(tiers.items())) or "nowhere"

    @display(description="State", label={"on": "success", "off": "danger"})
    def state(self, obj: Route) -> str:
        return "on" if obj.enabled else "off"

    def has_explain_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """For the theme, which asks before it shows the link."""
        return may_explain(request)

    @action(description="Explain", permissions=["explain"])
    def explain(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Where a request for a model of this route would go; of a pattern the stem is where to begin."""
        route = self.get_object(request, str(object_id))
        model = route.pattern.rstrip("*") if route else ""
        return HttpResponseRedirect(f"{reverse('explain')}?{urlencode({'model': model})}")

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Route]) -> None:
        rows = list(queryset.filter(enabled=False))
        ready = [row for row in rows if _can_answer(row)]
        for row in set(rows) - set(ready):
            words = f"{row} stays off: none of its targets can take a call."
            self.message_user(request, words, messages.WARNING)
        self._switch(request, ready, to=True)

    @admin.action(description="Disable: as if it did not exist", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Route]) -> None:
        self._switch(request, list(queryset.filter(enabled=True)), to=False)

    def _switch(self, request: HttpRequest, rows: list[Route], *, to: bool) -> None:
        message = [{"changed": {"fields": ["Enabled"]}}, {"values": {"enabled": [not to, to]}}]
        with transaction.atomic():
            for row in rows:
                self.log_change(request, row, message)
                row.enabled = to
                row.save(update_fields=["enabled"])
        self.message_user(request, f"{len(rows)} changed.", messages.SUCCESS)


def _can_answer(route: Route) -> bool:
    try:
        check_targets((target.weight, target.enabled, target.after) for target in route.targets.all())
    except ValidationError:
        return False
    return True


admin.site.register(Revision, RevisionAdmin)
admin.site.register(Limit, LimitAdmin)
admin.site.register(Budget, BudgetAdmin)
admin.site.register(CachePurge, CachePurgeAdmin)
admin.site.register(SemanticEvent, SemanticEventAdmin)
admin.site.register(OwnedObject, OwnedObjectAdmin)


@admin.register(TranslationLoss)
class TranslationLossAdmin(CsvExport):
    """What clients sent and could not travel, to read: the sums on top, the days below."""

    when_empty = "Nothing that clients sent was lost on the way to a provider."

    list_display = ("day", "route", "model", "field", "surface", "provider", "became", "count", "last_seen")
    list_filter = (
        "day",
        "refused",
        *LOSS_FILTERS,
    )
    search_fields = ("route", "model", "field")
    list_display_links = None
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator
    list_before_template = "admin/routing/translationloss/sums.html"
    csv_fields: tuple[str, ...] = (
        "day",
        "route",
        "model",
        "field",
        "surface",
        "provider",
        "refused",
        "count",
        "last_seen",
    )

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response: HttpResponse = super().changelist_view(request, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data and "cl" in response.context_data:
            # What the filters leave, over all its days.
            rows = (
                response.context_data["cl"].queryset.order_by().values("route", "model", "field", "refused")
            )
            sums = rows.annotate(total=Sum("count")).order_by("-total", "route", "model", "field")
            response.context_data["sums"] = sums[:_SUMS]
        return response

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: TranslationLoss | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: TranslationLoss | None = None) -> bool:
        return False

    @display(
        description="Became of it", ordering="refused", label={"dropped": "warning", "refused": "danger"}
    )
    def became(self, obj: TranslationLoss) -> str:
        return "refused" if obj.refused else "dropped"


@admin.register(CatalogueModel)
class PublishedCatalogueModelAdmin(CatalogueModelAdmin, Published, CsvExport):
    """The catalogue, published."""


@admin.register(Team)
class PublishedTeamAdmin(PurgesCache, ForgetsCaptures, TeamAdmin, Published, CsvExport):
    """Teams, published."""


admin.site.register(Provider, PublishedProviderAdmin)
admin.site.register(ApiKey, PublishedApiKeyAdmin)
admin.site.register(RequestEntry, RequestAdmin)
admin.site.register(Draft, DraftAdmin)


@admin.register(UsageDay)
class ExportedUsageDayAdmin(UsageDayAdmin, CsvExport):
    """Sums of days, to take away as well."""
