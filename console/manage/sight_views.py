"""What is to be seen: findings, explanations, usage; and cached answers purged."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import msgspec
import orjson
from django.db import transaction
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.ledger.rows import UsageDay, UsageFold
from accounts.ledger.usage import GROUPS, MEASURES, Used, asked, usage
from accounts.models import Team
from accounts.rights import Action, may
from accounts.scope import seen_by
from console.apps import running
from console.asking import Asked, AskingError, answered, sight_of
from console.manage.access import ManageView, Refused, needs
from console.manage.asked import number_in, page_size
from console.manage.shapes import Findings, Purge, Question
from providers.apps import vault
from routing.findings import SEVERITIES
from routing.lint_now import findings
from routing.lint_page import page_of
from routing.models import CachePurge, Route
from routing.revisions import hold, publish

_ANY = {"type": "object"}


@needs(GET=Action.LINT)
class LintView(ManageView):
    """What is not well with the configuration."""

    @extend_schema(
        operation_id="lint",
        parameters=[
            OpenApiParameter("check", str, description="Of this check alone."),
            OpenApiParameter("severity", str, enum=list(SEVERITIES), description="Of this severity alone."),
            OpenApiParameter("skip", int, description="Begin after so many: the `next` of the page before."),
            OpenApiParameter("limit", int, description="So many, 200 at most (100)."),
        ],
        responses={200: Findings},
    )
    def get(self, request: Request) -> Response:
        """Findings, the worst first, a page of them; and how many there are of each kind."""
        asks = request.query_params
        severity = asks.get("severity", "")
        if severity and severity not in SEVERITIES:
            raise Refused(400, f"A severity is one of: {', '.join(SEVERITIES)}.", ["severity"])
        found = page_of(
            findings(), asks.get("check", ""), severity, number_in(request, "skip", 0), page_size(request)
        )
        return Response(msgspec.to_builtins(found))


@needs(POST=Action.EXPLAIN)
class ExplainView(ManageView):
    """Where a request would go, and why."""

    @extend_schema(operation_id="explain", request=Question, responses={200: _ANY})
    def post(self, request: Request) -> Response:
        """By the function that routes: key, limits, targets with shares and reasons, losses and cost."""
        given = Question(data=request.data)
        given.is_valid(raise_exception=True)
        asks = dict(given.validated_data)
        if asks["request"] and not may(request.user, Action.READ_REQUESTS):
            raise Refused(403, "You may not see requests.")
        if asks["draft"] and not may(request.user, Action.READ_DRAFTS):
            raise Refused(403, "You may not see drafts.")
        body = asks.pop("body")
        question = Asked(**asks, body=b"" if body is None else orjson.dumps(body))
        try:
            said = answered(question, vault(), running(), sight_of(request.user))
        except AskingError as error:
            raise Refused(400, str(error)) from None
        return Response(msgspec.to_builtins(said))


@needs(GET=Action.READ_USAGE)
class UsageView(ManageView):
    """What was used."""

    scoped = True

    @extend_schema(
        operation_id="usage",
        parameters=[
            OpenApiParameter("first", str, description="The first day, as 2026-01-31 (UTC)."),
            OpenApiParameter("last", str, description="The last."),
            OpenApiParameter("by", str, enum=list(GROUPS)),
            OpenApiParameter("measure", str, enum=list(MEASURES), description="Largest first."),
            *(OpenApiParameter(name, str, description="Of this one alone.") for name in GROUPS),
        ],
        responses={200: _ANY},
    )
    def get(self, request: Request) -> Response:
        """Sums by day and by team, key, model or provider, of the teams that one may see. Costs are
        nano-dollars."""
        wanted = asked(request.query_params.dict())
        found = usage(
            wanted,
            seen_by(request.user, UsageDay.objects.all()),
            seen_by(request.user, UsageFold.objects.all()),
        )
        said = asdict(wanted)
        return Response(
            {
                "asked": {name: said[name] for name in ("first", "last", "by", "measure", "only", "cut")},
                "total": _used(found.total),
                "days": [_used(day) for day in found.days],
                "groups": [_used(group) for group in found.groups],
                "rest": None if found.rest is None else _used(found.rest),
            }
        )


@needs(POST=Action.PURGE_CACHE)
class PurgeView(ManageView):
    """Cached answers given to nobody any more."""

    @extend_schema(operation_id="cache_purge", request=Purge, responses={201: _ANY})
    def post(self, request: Request) -> Response:
        """Of a team, of a route, of both, or all of them."""
        given = Purge(data=request.data)
        given.is_valid(raise_exception=True)
        said = given.validated_data
        with transaction.atomic():
            hold()
            where = {
                "team": _named(Team, said["team"], "team"),
                "route": _named(Route, said["route"], "route"),
            }
            purge = CachePurge(author=self.author, **where)
            purge.full_clean()
            purge.save()
            change = {"object": f"cache purge {purge.pk}", "action": "added", "fields": {"what": str(purge)}}
            number = publish(self.author, f"cache purged: {purge}", [change])
        return Response({"id": purge.pk, "what": str(purge), "revision": number}, 201)


def _used(used: Used) -> dict[str, Any]:
    times = {"p50_ms": used.p50, "p95_ms": used.p95}
    return {"name": used.name, "value": used.value, **used.sums, "tokens": used.tokens, **times}


def _named(model: Any, name: str | None, what: str) -> Any:
    if name is None:
        return None
    found = model.objects.filter(name=name.replace("\0", "")).first()
    if found is None:
        raise Refused(400, f"No {what} has this name.", [what])
    return found
