"""How the ledger looks in the admin: requests and sums of days, to read.

Made for millions of rows: what is listed comes by an index, newest first, nothing counts a whole table, and
choices of filters come from the sums of days. routing/admin.py registers.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet, Sum
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.html import format_html_join
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from accounts.ledger.rows import STATES, AttemptEntry, RequestEntry, UsageDay
from accounts.ledger.words import dollars, explain

# Nobody turns more pages; whoever looks for something older filters.
_MOST_COUNTED = 5_000
# Choices of a filter: those used most, of the last week.
_CHOICES = 50
_CHOICE_DAYS = 7
_OUTCOMES = (("ok", "ok"), ("error", "error"), ("client_gone", "client left"))
_STATUSES = (200, 400, 401, 403, 404, 413, 422, 429, 499, 500, 502, 503, 504, 529)


class CappedPaginator(Paginator):
    """Counts up to a bound, so that no page costs a count of all."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:_MOST_COUNTED].count())


class _Chosen(admin.SimpleListFilter):
    """One column has one value. `names`: the column's, and that of what is shown for it."""

    column = ""
    shown = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        names = dict.fromkeys((self.column, self.shown))
        recent = UsageDay.objects.filter(day__gte=datetime.now(UTC).date() - timedelta(days=_CHOICE_DAYS))
        most = recent.order_by().values(*names).annotate(total=Sum("requests")).order_by("-total")
        found = {str(row[self.column]): str(row[self.shown]) for row in most[:_CHOICES] if row[self.shown]}
        chosen = self.value()
        if chosen and chosen not in found:
            found[chosen] = chosen
        return sorted(found.items(), key=lambda pair: pair[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        if not chosen:
            return queryset
        if self.column.endswith("_id"):
            if not chosen.isdigit() or len(chosen) > 18:
                return queryset.none()
            return queryset.filter(**{self.column: int(chosen)})
        return queryset.filter(**{self.column: chosen})


class TeamFilter(_Chosen):
    """By team, with the name that it had."""

    title, parameter_name, column, shown = "team", "team", "team_id", "team"


class KeyFilter(_Chosen):
    """By key."""

    title, parameter_name, column, shown = "key", "key", "key_id", "key"


class ModelFilter(_Chosen):
    """By model as it was asked for."""

    title, parameter_name, column, shown = "model", "model", "model", "model"


class ProviderFilter(_Chosen):
    """By the provider that was asked last."""

    title, parameter_name, column, shown = "provider", "provider", "provider", "provider"


class _Word(admin.SimpleListFilter):
    """One of a few values that are known beforehand."""

    column = ""
    words: Iterable[tuple[Any, str]] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return list(self.words)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        known = {str(word) for word, _ in self.words}
        return queryset.filter(**{self.column: chosen}) if chosen in known else queryset


class StateFilter(_Word):
    """By how it is charged."""

    title, parameter_name, column = "state", "state", "state"
    words = tuple((word, word) for word, _ in STATES)


class OutcomeFilter(_Word):
    """By how it ended for the client."""

    title, parameter_name, column, words = "outcome", "outcome", "outcome", _OUTCOMES


class StatusFilter(_Word):
    """By HTTP status."""

    title, parameter_name, column = "status", "status", "status"
    words = tuple((status, str(status)) for status in _STATUSES)


class DayFilter(admin.SimpleListFilter):
    """By day (UTC): of the last ones, or any as `?day=2030-01-31`."""

    title, parameter_name = "day", "day"
    column = "at"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        spans = [("today", "today"), ("yesterday", "yesterday"), ("7", "last 7 days"), ("31", "last 31 days")]
        chosen = self.value()
        known = not chosen or chosen in dict(spans)
        return spans if known else [*spans, (str(chosen), str(chosen))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        span = self._span(self.value(), datetime.now(UTC).date())
        if span is None:
            return queryset
        first, last = span
        if self.column == "day":
            return queryset.filter(day__gte=first, day__lte=last)
        begin = datetime.combine(first, time(), UTC)
        end = datetime.combine(last + timedelta(days=1), time(), UTC)
        return queryset.filter(at__gte=begin, at__lt=end)

    def _span(self, chosen: str | None, today: date) -> tuple[date, date] | None:
        if chosen in ("7", "31"):
            return today - timedelta(days=int(chosen) - 1), today
        if chosen in ("today", "yesterday"):
            day = today - timedelta(days=int(chosen == "yesterday"))
            return day, day
        try:
            day = date.fromisoformat(chosen or "")
            _ = day + timedelta(days=1)
        except (ValueError, OverflowError):
            return None
        return day, day


class SumDayFilter(DayFilter):
    """The same of sums."""

    column = "day"


class _ReadOnly:
    """Nobody adds, changes or deletes it here."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class AttemptInline(_ReadOnly, TabularInline):
    """A request's attempts in their order."""

    model = AttemptEntry
    fields = (
        "number",
        "provider",
        "upstream_model",
        "credential",
        "reason",
        "outcome",
        "status",
        "state",
        "ms",
        "upstream_request_id",
    )
    readonly_fields = fields
    ordering = ("number",)
    extra = 0


class RequestAdmin(_ReadOnly, ModelAdmin):
    """Requests, newest first."""

    list_display = (
        "at",
        "team",
        "key",
        "model",
        "provider",
        "ended",
        "charge",
        "input_tokens",
        "output_tokens",
        "paid",
        "total_ms",
        "cache",
        "request_id",
    )
    list_filter = (
        DayFilter,
        TeamFilter,
        KeyFilter,
        ModelFilter,
        ProviderFilter,
        OutcomeFilter,
        StatusFilter,
        StateFilter,
    )
    # Exactly: anything else would read the whole table.
    search_fields = ("request_id__exact",)
    search_help_text = "A whole request id, as clients see it in x-request-id."
    show_full_result_count = False
    paginator = CappedPaginator
    list_per_page = 50
    list_max_show_all = 50
    ordering = ("-at", "-id")
    sortable_by = ()
    actions = None
    inlines = (AttemptInline,)
    fieldsets = (
        (None, {"fields": ("why", ("request_id", "at"), ("state", "paid", "reserved_paid"))}),
        ("Who and what", {"fields": (("team", "key", "surface"), ("model", "stream"))}),
        (
            "Where",
            {"fields": (("route", "provider", "upstream_model"), ("revision", "tries"), "dropped")},
        ),
        ("End", {"fields": (("status", "code", "outcome"), ("cache", "saved_paid", "flags"))}),
        (
            "Tokens",
            {
                "fields": (
                    ("input_tokens", "output_tokens", "usage_source"),
                    ("cache_read", "cache_write", "reasoning"),
                )
            },
        ),
        ("Milliseconds", {"fields": (("ttft_ms", "total_ms"), ("queue_ms", "upstream_ms"))}),
    )

    @display(description="Status", label={"ok": "success", "error": "danger", "client_gone": "warning"})
    def ended(self, obj: RequestEntry) -> tuple[str, str] | str:
        return (obj.outcome, f"{obj.status} {obj.code}".strip()) if obj.outcome else ""

    @display(
        description="State",
        label={"settled": "success", "estimated": "warning", "orphaned": "danger", "reserved": "info"},
    )
    def charge(self, obj: RequestEntry) -> str:
        return obj.state

    @admin.display(description="Cost")
    def paid(self, obj: RequestEntry) -> str:
        return "" if obj.state == "reserved" else dollars(obj.cost)

    @admin.display(description="Reserved")
    def reserved_paid(self, obj: RequestEntry) -> str:
        return dollars(obj.reserved_cost)

    @admin.display(description="Saved")
    def saved_paid(self, obj: RequestEntry) -> str:
        return "" if obj.saved is None else dollars(obj.saved)

    @admin.display(description="Why this charge")
    def why(self, obj: RequestEntry) -> str:
        return format_html_join("", "<div>{}</div>", ((sentence,) for sentence in explain(obj)))


class UsageDayAdmin(_ReadOnly, ModelAdmin):
    """Sums of days."""

    list_display = (
        "day",
        "team",
        "key",
        "model",
        "provider",
        "requests",
        "errors",
        "input_tokens",
        "output_tokens",
        "paid",
        "cache_hits",
        "saved_paid",
    )
    list_filter = (SumDayFilter, TeamFilter, KeyFilter, ModelFilter, ProviderFilter)
    list_display_links = None
    list_per_page = 50
    show_full_result_count = False
    paginator = CappedPaginator
    csv_fields: tuple[str, ...] = (
        "day",
        "team",
        "key",
        "model",
        "provider",
        "requests",
        "errors",
        "gone",
        "estimated",
        "orphaned",
        "unpriced",
        "input_tokens",
        "output_tokens",
        "cache_read",
        "cache_write",
        "reasoning",
        "cost",
        "cache_hits",
        "saved",
    )

    @admin.display(description="Cost", ordering="cost")
    def paid(self, obj: UsageDay) -> str:
        return dollars(obj.cost) + (f" and {obj.unpriced} unknown" if obj.unpriced else "")

    @admin.display(description="Saved", ordering="saved")
    def saved_paid(self, obj: UsageDay) -> str:
        return dollars(obj.saved) if obj.saved else ""
