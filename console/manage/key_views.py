"""Teams and keys: listed, issued, rotated, revoked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.ledger.rows import RequestEntry
from accounts.models import ApiKey, Team
from accounts.rights import Action, may
from accounts.scope import teams_of
from console.manage.access import ManageView, Refused, needs
from console.manage.shapes import KeyAndUse, Keys, NewKey, Rotation, Secret, Teams
from routing.keys import Issued, KeyStateError, Wish, issue_key, revoke_key, rotate_key

_QUIET = timedelta(days=7)
_PAGE = 100
# Of one key: more is as good as this many.
_MOST_COUNTED = 1000


@needs(GET=Action.READ_TEAMS)
class TeamsView(ManageView):
    """Teams."""

    @extend_schema(operation_id="teams_list", responses=Teams(many=True))
    def get(self, _request: Request) -> Response:
        """All of them. They are made and changed by the configuration."""
        return Response(Teams(Team.objects.order_by("name"), many=True).data)


@needs(GET=Action.READ_KEYS, POST=Action.ISSUE_KEY)
class KeysView(ManageView):
    """Keys."""

    @extend_schema(
        operation_id="keys_list",
        parameters=[
            OpenApiParameter("team", str, description="Of this team alone."),
            OpenApiParameter("after", int, description="The last id of the page before."),
        ],
        responses=Keys(many=True),
    )
    def get(self, request: Request) -> Response:
        """A page of keys by their ids, without their use."""
        rows = ApiKey.objects.select_related("team").order_by("id")
        if "team" in request.query_params:
            rows = rows.filter(team__name=request.query_params["team"].replace("\0", ""))
        after = request.query_params.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) <= 18):
            raise Refused(400, "after is the id of a key.")
        return Response(Keys(rows.filter(pk__gt=int(after))[:_PAGE], many=True).data)

    @extend_schema(operation_id="keys_issue", request=NewKey, responses={201: Secret})
    def post(self, request: Request) -> Response:
        """Issue a key. It is shown only in this answer."""
        given = NewKey(data=request.data)
        given.is_valid(raise_exception=True)
        said = given.validated_data
        team = Team.objects.filter(name=said["team"]).first()
        if team is None:
            raise Refused(400, "No team has this name.", ["team"])
        wish = Wish(said["label"], said["expires_at"], said["models"], said["priority"])
        return _secret(issue_key(team, wish, self.author))


@needs(GET=Action.READ_KEYS)
class KeyView(ManageView):
    """One key."""

    @extend_schema(operation_id="keys_read", responses=KeyAndUse)
    def get(self, request: Request, number: int) -> Response:
        """The key and its last use, for who may see its team's."""
        row = get_object_or_404(ApiKey.objects.select_related("team"), pk=number)
        return Response({**Keys(row).data, **_use(request, row)})


@needs(POST=Action.REVOKE_KEY)
class RevokeView(ManageView):
    """A key refused from now on."""

    @extend_schema(operation_id="keys_revoke", request=None, responses=Keys)
    def post(self, _request: Request, number: int) -> Response:
        """Refused by every process within a second or two, for good. Again: nothing happens."""
        row = get_object_or_404(ApiKey.objects.select_related("team"), pk=number)
        revoke_key(row, self.author)
        return Response(Keys(row).data)


@needs(POST=Action.ROTATE_KEY)
class RotateView(ManageView):
    """A key replaced."""

    @extend_schema(operation_id="keys_rotate", request=Rotation, responses={201: Secret})
    def post(self, request: Request, number: int) -> Response:
        """Issue a successor that may what this key may, with limits and budgets of the same size, which begin
        anew. This key goes on until the overlap is over."""
        given = Rotation(data=request.data)
        given.is_valid(raise_exception=True)
        row = get_object_or_404(ApiKey.objects.select_related("team"), pk=number)
        try:
            return _secret(
                rotate_key(row, timedelta(hours=given.validated_data["overlap_hours"]), self.author)
            )
        except KeyStateError as error:
            raise Refused(409, str(error)) from None


def _secret(issued: Issued) -> Response:
    said = {"id": issued.row.pk, "prefix": issued.row.prefix, "key": issued.key, "revision": issued.revision}
    return Response(said, 201)


def _use(request: Request, row: ApiKey) -> dict[str, Any]:
    user: Any = request.user
    teams = teams_of(user)
    if not may(user, Action.READ_REQUESTS) or (teams is not None and row.team_id not in teams):
        return {}
    used = RequestEntry.objects.filter(Q(key_id=row.pk))
    last = used.order_by("-at").values_list("at", flat=True).first()
    since = timezone.now() - _QUIET
    count = used.filter(at__gte=since)[:_MOST_COUNTED].count()
    quiet = count == 0 and row.created < since
    return {"last_used": last, "requests_7d": count, "safe_to_revoke": row.state != "active" or quiet}
