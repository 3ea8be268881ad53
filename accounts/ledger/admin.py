"""How the ledger looks in the admin: requests and sums of days, to read.

Made for millions of rows: what is listed comes by an index, newest first, nothing counts a whole table, and
choices of filters come from the sums of days. routing/admin.py registers.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from unfold.admin import TabularInline
from unfold.decorators import action, display

from accounts.admin_base import BoundedLookups, CappedPaginator, TeamScoped
from accounts.ledger import usage_page
from accounts.ledger.admin_filters import (
    CodeFilter,
    DayFilter,
    KeyFilter,
    ModelFilter,
    OutcomeFilter,
    ProviderFilter,
    SpanFilter,
    StateFilter,
    StatusFilter,
    SumDayFilter,
    TeamFilter,
)
from accounts.ledger.charge import anew, budgets, dollars, given_back, parts
from accounts.ledger.lines import ENDING
from accounts.ledger.rows import AttemptEntry, RequestEntry, UsageDay, UsageFold
from accounts.ledger.sums import KEY, SUMS
from accounts.ledger.usage import asked
from accounts.ledger.words import attempt_cost, attempt_used, explain
from accounts.rights import Action, may
from accounts.scope import seen_by
from accounts.sheets import MOST_ROWS, streamed

# States of an attempt that a request is charged for.
_CHARGED = ("settled", "estimated", "orphaned")


class _ReadOnly:
    """Nobody adds, changes or deletes it here."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class _Ledger(_ReadOnly, TeamScoped, BoundedLookups):
    """The rows of one's teams."""

    # They would count the whole table for each choice of each filter.
    show_facets = admin.ShowFacets.NEVER


class AttemptInline(_ReadOnly, TabularInline):
    """A request's attempts in their order, for whoever may look at the request."""

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
        "used",
        "paid",
        "ms",
        "upstream_request_id",
    )
    readonly_fields = fields
    ordering = ("number",)
    extra = 0

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Action.READ_REQUESTS)

    def get_queryset(self, request: HttpRequest) -> QuerySet[AttemptEntry]:
        # A request is charged for one attempt: the last that was answered, or may be billed.
        paid = AttemptEntry.objects.filter(request=OuterRef("request"), state__in=_CHARGED)
        rows: QuerySet[AttemptEntry] = super().get_queryset(request)
        return rows.annotate(charged=Subquery(paid.order_by("-number").values("number")[:1]))

    @admin.display(description="Used")
    def used(self, obj: Any) -> str:
        return attempt_used(obj, charged=obj.charged == obj.number)

    @admin.display(description="Cost")
    def paid(self, obj: Any) -> str:
        return attempt_cost(obj, charged=obj.charged == obj.number)


class RequestAdmin(_Ledger):
    """Requests, newest first."""

    when_empty = (
        "Every call that is let in stands here some seconds after it ended. The playground makes one."
    )

    list_display = (
        "when",
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
        SpanFilter,
        DayFilter,
        TeamFilter,
        KeyFilter,
        ModelFilter,
        ProviderFilter,
        OutcomeFilter,
        StatusFilter,
        CodeFilter,
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
    actions_row = ("explain_route",)
    actions_detail = ("explain_route",)
    inlines = (AttemptInline,)
    change_form_before_template = "admin/accounts/requestentry/why.html"
    list_before_template = "admin/accounts/requestentry/export.html"
    # Names as the database has them, whole.
    export_columns = ("request_id", "at", *ENDING[1:])
    fieldsets = (
        (None, {"fields": ("request_id", "trace_id", "at", ("state", "paid", "reserved_paid"))}),
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

    @admin.display(description="Time (UTC)")
    def when(self, obj: RequestEntry) -> str:
        return format_html('<span class="whitespace-nowrap">{}</span>', f"{obj.at:%Y-%m-%d %H:%M:%S}")

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

    def has_explain_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """For the theme, which asks before it shows the link."""
        return may(request.user, Action.EXPLAIN)

    @action(description="Explain", permissions=["explain"])
    def explain_route(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Why it went where it went, by the configuration that it had."""
        row = self.get_object(request, str(object_id))
        if row is None:
            raise Http404
        return HttpResponseRedirect(f"{reverse('explain')}?{urlencode({'request': row.request_id})}")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"most_rows": MOST_ROWS, **(extra_context or {})})

    def get_urls(self) -> Any:
        export = self.admin_site.admin_view(self.export_view)
        return [path("export/", export, name="accounts_requestentry_export"), *super().get_urls()]

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """What the list's filters and search leave, as a stream of CSV."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            chosen = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            return HttpResponseBadRequest("One of the filters is no filter of this list.")
        return streamed("requests", chosen, self.export_columns, "at")

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **more: Any
    ) -> HttpResponse:
        row = more.get("obj")
        if row is not None:
            context["why"] = {
                "row": row,
                "sentences": explain(row),
                "parts": parts(row) if row.state in ("settled", "estimated") else (),
                "total": dollars(row.cost),
                "anew": anew(row),
                "given_back": given_back(row),
                "budgets": list(budgets(row)) if may(request.user, Action.READ_BUDGETS) else None,
            }
        return super().render_change_form(request, context, *args, **more)


class UsageDayAdmin(_Ledger):
    """Sums of days."""

    when_empty = "Calls are added up here, day by day, as they end."

    fields = (*KEY, *SUMS)
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
    # What was spent most of is the page of usage.
    sortable_by = ("day",)
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

    def get_urls(self) -> Any:
        pages = (("usage", self.usage_view), ("export", self.export_view))
        return [
            *(
                path(f"{word}/", self.admin_site.admin_view(view), name=f"accounts_usageday_{word}")
                for word, view in pages
            ),
            *super().get_urls(),
        ]

    def usage_view(self, request: HttpRequest) -> HttpResponse:
        """Charts and tables of a span of days."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        self.tell_of_no_team(request)
        shared = {**self.admin_site.each_context(request), "opts": self.opts, "title": "Usage"}
        folded = seen_by(request.user, UsageFold.objects.all())
        more = usage_page.context(request, self.get_queryset(request), folded)
        return TemplateResponse(request, "admin/accounts/usageday/usage.html", {**shared, **more})

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """The sums of days that the page of usage is made of, as a stream of CSV."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        chosen = asked(request.GET.dict()).of(self.get_queryset(request))
        return streamed("usage", chosen, self.csv_fields, "day")

    @admin.display(description="Cost", ordering="cost")
    def paid(self, obj: UsageDay) -> str:
        return dollars(obj.cost) + (f" and {obj.unpriced} unknown" if obj.unpriced else "")

    @admin.display(description="Saved", ordering="saved")
    def saved_paid(self, obj: UsageDay) -> str:
        return dollars(obj.saved) if obj.saved else ""
