"""What is on record, and what is so now: requests, the audit log, usage as CSV, breakers, cached answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpResponseBase
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.audit import AuditEntry
from accounts.ledger.admin import UsageDayAdmin
from accounts.ledger.lines import ENDING
from accounts.ledger.rows import AttemptEntry, RequestEntry, UsageDay
from accounts.ledger.usage import asked
from accounts.models import Team
from accounts.rights import Action
from accounts.scope import seen_by
from accounts.sheets import streamed
from console.apps import running
from console.manage.access import ManageView, Refused, needs
from console.manage.asked import number_in, page_size
from console.manage.shapes import Audited, BreakerNow, Cached, Requests, RequestWhole
from providers.apps import breakers
from providers.models import Provider

_REQUEST = ("request_id", "at", *ENDING[1:])
# Each by an index of its own.
_EXACT = ("model", "provider", "outcome", "state", "code")
_ATTEMPT = [field.attname for field in AttemptEntry._meta.fields if field.name not in ("id", "request")]
_SPAN = [
    OpenApiParameter("from", datetime, description="Not before this moment."),
    OpenApiParameter("until", datetime, description="Before this moment."),
    OpenApiParameter("limit", int, description="So many, 200 at most (100)."),
]


@needs(GET=Action.READ_REQUESTS)
class RequestsView(ManageView):
    """The ledger."""

    scoped = True

    @extend_schema(
        operation_id="requests_list",
        parameters=[
            *_SPAN,
            OpenApiParameter("before", str, description="The last request_id of the page before."),
            OpenApiParameter("team", int, description="The id of a team."),
            OpenApiParameter("key", int, description="The id of a key."),
            OpenApiParameter("status", int),
            *(OpenApiParameter(name, str) for name in _EXACT),
        ],
        responses=Requests(many=True),
    )
    def get(self, request: Request) -> Response:
        """Requests of the teams that one may see, the newest first, a page of them."""
        rows = _within(request, seen_by(request.user, RequestEntry.objects.order_by("-at", "-id")))
        asks = request.query_params
        rows = rows.filter(**{name: _text(asks[name]) for name in _EXACT if name in asks})
        for name, column in (("team", "team_id"), ("key", "key_id"), ("status", "status")):
            if name in asks:
                rows = rows.filter(**{column: min(number_in(request, name, 0), 2**31 - 1)})
        if "before" in asks:
            last = get_object_or_404(rows.values("at", "id"), request_id=_text(asks["before"]))
            older = Q(at__lt=last["at"]) | Q(at=last["at"], id__lt=last["id"])
            # The first condition is for the index, which the second alone would not be looked up in.
            rows = rows.filter(older, at__lte=last["at"])
        return Response(list(rows.values(*_REQUEST)[: page_size(request)]))


@needs(GET=Action.READ_REQUESTS)
class RequestView(ManageView):
    """One request of the ledger."""

    scoped = True

    @extend_schema(operation_id="requests_read", responses=RequestWhole)
    def get(self, request: Request, request_id: str) -> Response:
        """The request and its attempts."""
        rows = seen_by(request.user, RequestEntry.objects.all())
        row = get_object_or_404(rows, request_id=request_id)
        attempts = AttemptEntry.objects.filter(request=row.pk).order_by("number").values(*_ATTEMPT)
        return Response({**{name: getattr(row, name) for name in _REQUEST}, "attempts": list(attempts)})


@needs(GET=Action.READ_AUDIT)
class AuditView(ManageView):
    """Who changed what."""

    @extend_schema(
        operation_id="audit_list",
        parameters=[
            *_SPAN,
            OpenApiParameter("before", int, description="The last id of the page before."),
            *(OpenApiParameter(name, str) for name in ("author", "via", "action")),
        ],
        responses=Audited(many=True),
    )
    def get(self, request: Request) -> Response:
        """Entries of the audit log, the newest first, a page of them."""
        rows = _within(request, AuditEntry.objects.order_by("-id"))
        asks = request.query_params
        rows = rows.filter(
            **{name: _text(asks[name]) for name in ("author", "via", "action") if name in asks}
        )
        if "before" in asks:
            rows = rows.filter(pk__lt=number_in(request, "before", 0))
        return Response(Audited(rows[: page_size(request)], many=True).data)


@needs(GET=Action.READ_USAGE)
class UsageSheetView(ManageView):
    """Usage for spreadsheets."""

    scoped = True

    @extend_schema(
        operation_id="usage_csv",
        parameters=[
            OpenApiParameter(name, str) for name in ("first", "last", "team", "key", "model", "provider")
        ],
        responses={(200, "text/csv"): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> HttpResponseBase:
        """The sums of days that usage is made of, as CSV that no spreadsheet runs. Costs are nano-dollars."""
        chosen = asked(request.query_params.dict()).of(seen_by(request.user, UsageDay.objects.all()))
        return streamed("usage", chosen, UsageDayAdmin.csv_fields, "day")


@needs(GET=Action.READ_PROVIDERS)
class BreakersView(ManageView):
    """What is left alone at the moment."""

    @extend_schema(operation_id="breakers_list", responses=BreakerNow(many=True))
    def get(self, _request: Request) -> Response:
        """Each breaker that the process which answers knows of. `mode`: held `open` or `closed`, or `auto`;
        it is changed by `breaker_mode` of the provider."""
        return Response(
            [
                {"provider": row.name, "provider_id": row.pk, "mode": row.breaker_mode, **each._asdict()}
                for row in Provider.objects.order_by("name")
                for each in breakers(row.name)
            ]
        )


@needs(GET=Action.READ_CACHE)
class CacheView(ManageView):
    """What is kept of answers."""

    @extend_schema(operation_id="cache_read", responses=Cached(many=True))
    def get(self, request: Request) -> Response:
        """How many answers each team has that one may see, and their bytes: in Redis, or else in the process
        that answers. 503 where this cannot be told."""
        now = running()
        held = now.stock() if now is not None else None
        if held is None:
            raise Refused(503, "What is cached is not known here.")
        teams = dict(seen_by(request.user, Team.objects.all(), "pk").values_list("pk", "name"))
        return Response(
            [
                {"team_id": team, "team": name, "answers": held[team].entries, "bytes": held[team].size}
                for team, name in sorted(teams.items())
                if team in held
            ]
        )


def _within(request: Request, rows: QuerySet[Any]) -> QuerySet[Any]:
    asks: Mapping[str, str] = request.query_params
    for name, way in (("from", "at__gte"), ("until", "at__lt")):
        if name in asks:
            rows = rows.filter(**{way: _moment(asks[name], name)})
    return rows


def _moment(text: str, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if not 1 < moment.year < 9999:
            raise ValueError(text)
    except ValueError:
        raise Refused(400, "A moment was expected, such as 2026-01-31T12:00:00Z.", [name]) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _text(said: str) -> str:
    # PostgreSQL has no word for a zero byte.
    return said[:200].replace("\0", "?")
