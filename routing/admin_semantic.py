"""The page of hits: which question got whose answer, for those who judge whether it should have."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, Max, Min, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.decorators import display

from accounts.admin_base import TeamScoped
from accounts.models import Team
from accounts.rights import Action, may
from accounts.row_ids import is_id
from accounts.scope import seen_by
from routing.admin_base import CsvExport, Published
from routing.models import CachePurge, Route
from routing.models_semantic import SemanticEvent
from routing.revisions import hold

# As many as one sees without scrolling.
_SUMS = 10
# As many as one reads. Another one is named in the address, or searched for.
_CHOICES = 50
_CHOICE_DAYS = 7
# A question is shown as far as a table can.
_SHOWN = 300


class _Named(admin.SimpleListFilter):
    """A filter of a number by the name of what it stands for: those with most hits of late are offered, since
    of a thousand routes the links alone would be most of the page."""

    def named(self, user: Any) -> QuerySet[Any]:
        """Those that `user` may know of."""
        raise NotImplementedError

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        field = self.parameter_name or ""
        since = timezone.now() - timedelta(days=_CHOICE_DAYS)
        recent = seen_by(request.user, SemanticEvent.objects.filter(at__gte=since), "team")
        counted = recent.exclude(kind="kept").order_by().values_list(field).annotate(hits=Count("pk"))
        offered = {pk for pk, _ in counted.order_by("-hits", field)[:_CHOICES]}
        chosen = self.value()
        if chosen and is_id(chosen):
            offered.add(int(chosen))
        rows = self.named(request.user).filter(pk__in=offered).values_list("pk", "name").order_by("name")
        return [(str(pk), name) for pk, name in rows]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value, field = self.value(), self.parameter_name or ""
        return queryset.filter(**{field: value}) if value and is_id(value) else queryset


class _TeamFilter(_Named):
    title = "team"
    parameter_name = "team"

    def named(self, user: Any) -> QuerySet[Team]:
        return seen_by(user, Team.objects.all(), "pk")


class _RouteFilter(_Named):
    title = "route"
    parameter_name = "route"

    def named(self, user: Any) -> QuerySet[Route]:
        return Route.objects.filter(team=None) | seen_by(user, Route.objects.all())


class SemanticEventAdmin(TeamScoped, Published, CsvExport):
    """Hits and would-be hits. Their questions, where a route has them written down, only for those who may
    read them."""

    when_empty = (
        "No question was answered, or would have been, by the answer to one that is like it. A route's "
        'tab "Like questions" turns that on.'
    )

    is_edit = False
    team_column = "team"
    list_display = ("at", "team_name", "route_name", "model", "became", "likeness", "answer")
    list_display_links = None
    list_filter = ("at", "kind", _TeamFilter, _RouteFilter, "embedder")
    search_fields = ("entry", "question", "request_id", "model")
    list_per_page = 50
    list_before_template = "admin/routing/semanticevent/sums.html"
    actions = ("purge_answers",)
    csv_fields: tuple[str, ...] = (
        "at",
        "kind",
        "team",
        "route",
        "model",
        "embedder",
        "similarity",
        "threshold",
        "entry",
        "question",
        "request_id",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[SemanticEvent]:
        kept = SemanticEvent.objects.filter(kind="kept", entry=OuterRef("entry")).exclude(prompt="")
        # Where a route's answers are for every team, another's question may have been the first.
        kept = seen_by(request.user, kept, "team")
        found: QuerySet[SemanticEvent] = super().get_queryset(request)
        return found.exclude(kind="kept").annotate(
            team_named=Subquery(Team.objects.filter(pk=OuterRef("team")).values("name")[:1]),
            route_named=Subquery(Route.objects.filter(pk=OuterRef("route")).values("name")[:1]),
            answered=Subquery(kept.order_by("-at").values("prompt")[:1]),
        )

    def get_list_display(self, request: HttpRequest) -> Any:
        if may(request.user, Action.READ_PROMPTS):
            return (*self.list_display, "asked", "answered_to")
        return self.list_display

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response: HttpResponse = super().changelist_view(request, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data and "cl" in response.context_data:
            rows = response.context_data["cl"].queryset.order_by().values("entry")
            sums = rows.annotate(times=Count("pk"), least=Min("similarity"), last=Max("at"))
            response.context_data["sums"] = sums.order_by("-times", "least", "entry")[:_SUMS]
        return response

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions: dict[str, Any] = super().get_actions(request)
        if not may(request.user, Action.PURGE_CACHE):
            actions.pop("purge_answers", None)
        return actions

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: SemanticEvent | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SemanticEvent | None = None) -> bool:
        return False

    @admin.action(description="Purge the answers of these")
    def purge_answers(self, request: HttpRequest, queryset: QuerySet[SemanticEvent]) -> None:
        hold()
        user: Any = request.user
        entries = sorted(set(queryset.values_list("entry", flat=True)))
        for entry in entries:
            purge = CachePurge.objects.create(key=entry, author=user.get_username())
            self.log_addition(request, purge, [{"added": {}}])
        words = f"{len(entries)} answers are given to nobody any more."
        self.message_user(request, words, messages.SUCCESS)

    @admin.display(description="Team", ordering="team_named")
    def team_name(self, obj: Any) -> str:
        return obj.team_named or f"team {obj.team}, which is gone"

    @admin.display(description="Route", ordering="route_named")
    def route_name(self, obj: Any) -> str:
        return obj.route_named or f"route {obj.route}, which is gone"

    @display(description="Became of it", ordering="kind", label={"given": "success", "counted": "info"})
    def became(self, obj: SemanticEvent) -> str:
        return "given" if obj.kind == "hit" else "counted"

    @admin.display(description="Likeness", ordering="similarity")
    def likeness(self, obj: SemanticEvent) -> str:
        return f"{obj.similarity:.3f} of {obj.threshold:.3f}"

    @admin.display(description="Answer", ordering="entry")
    def answer(self, obj: SemanticEvent) -> str:
        return obj.entry[:12]

    @admin.display(description="Question")
    def asked(self, obj: SemanticEvent) -> str:
        return obj.prompt[:_SHOWN] or "not written down"

    @admin.display(description="Answered to")
    def answered_to(self, obj: Any) -> str:
        return (obj.answered or "")[:_SHOWN] or "not written down"
