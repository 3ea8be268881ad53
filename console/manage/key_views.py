"""Teams and keys: listed, issued, rotated, revoked."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.issuing import KeyStateError, Wish
from accounts.key_use import use_seen_by
from accounts.models import ApiKey, Team
from accounts.rights import Action
from accounts.scope import only_team
from console.manage.access import ManageView, Refused, needs
from console.manage.asked import IF_MATCH, REASON, check_match, number_in, page_size
from console.manage.editing import save, tag_of
from console.manage.shapes import KeyAndUse, KeyEdits, Keys, NewKey, Rotation, Secret
from routing.keys import Issued, issue_key, revoke_key, rotate_key
from routing.revisions import hold


@needs(GET=Action.READ_KEYS, POST=Action.ISSUE_KEY)
class KeysView(ManageView):
    """Keys."""

    scoped = True

    @extend_schema(
        operation_id="keys_list",
        parameters=[
            OpenApiParameter("team", str, description="Of this team alone."),
            OpenApiParameter("after", int, description="The last id of the page before."),
            OpenApiParameter("limit", int, description="So many, 200 at most (100)."),
        ],
        responses=Keys(many=True),
    )
    def get(self, request: Request) -> Response:
        """A page of keys by their ids, without their use."""
        rows = _keys(request).order_by("id")
        if "team" in request.query_params:
            rows = rows.filter(team__name=request.query_params["team"].replace("\0", ""))
        after = number_in(request, "after", 0)
        return Response(Keys(rows.filter(pk__gt=after)[: page_size(request)], many=True).data)

    @extend_schema(operation_id="keys_issue", request=NewKey, responses={201: Secret})
    def post(self, request: Request) -> Response:
        """Issue a key. It is shown only in this answer."""
        given = NewKey(data=request.data)
        given.is_valid(raise_exception=True)
        said = given.validated_data
        team = _teams(request).filter(name=said["team"]).first()
        if team is None:
            raise Refused(400, "No team has this name.", ["team"])
        wish = Wish(said["label"], said["expires_at"], said["models"], said["priority"])
        return _secret(issue_key(team, wish, self.author))


@needs(GET=Action.READ_KEYS, PATCH=Action.REVOKE_KEY)
class KeyView(ManageView):
    """One key."""

    scoped = True

    @extend_schema(operation_id="keys_read", responses=KeyAndUse)
    def get(self, request: Request, number: int) -> Response:
        """The key and its last use, for who may see its team's."""
        row = get_object_or_404(_keys(request), pk=number)
        return Response({**Keys(row).data, **_use(request, row)}, headers={"ETag": tag_of(row)})

    @extend_schema(
        operation_id="keys_change", parameters=[IF_MATCH, REASON], request=KeyEdits, responses=Keys
    )
    def patch(self, request: Request, number: int) -> Response:
        """Change its label, models, priority or end, as the admin's form does."""
        with transaction.atomic():
            hold()
            row = get_object_or_404(_keys(request), pk=number)
            check_match(request, tag_of(row))
            given = KeyEdits(row, data=request.data, partial=True)
            given.is_valid(raise_exception=True)
            save(request._request, ApiKey, row, given.validated_data)
        row.refresh_from_db()
        return Response(Keys(row).data, headers={"ETag": tag_of(row)})


@needs(POST=Action.REVOKE_KEY)
class RevokeView(ManageView):
    """A key refused from now on."""

    scoped = True

    @extend_schema(operation_id="keys_revoke", request=None, responses=Keys)
    def post(self, request: Request, number: int) -> Response:
        """Refused by every process within a second or two, for good. Again: nothing happens."""
        row = get_object_or_404(_keys(request), pk=number)
        revoke_key(row, self.author)
        return Response(Keys(row).data)


@needs(POST=Action.ROTATE_KEY)
class RotateView(ManageView):
    """A key replaced."""

    scoped = True

    @extend_schema(operation_id="keys_rotate", request=Rotation, responses={201: Secret})
    def post(self, request: Request, number: int) -> Response:
        """Issue a successor that may what this key may, with limits and budgets of the same size, which begin
        anew. This key goes on until the overlap is over."""
        given = Rotation(data=request.data)
        given.is_valid(raise_exception=True)
        row = get_object_or_404(_keys(request), pk=number)
        try:
            return _secret(
                rotate_key(row, timedelta(hours=given.validated_data["overlap_hours"]), self.author)
            )
        except KeyStateError as error:
            raise Refused(409, str(error)) from None


def _keys(request: Request) -> QuerySet[ApiKey]:
    """All keys; of a token that is one team's those of the team."""
    only = only_team(request.user)
    rows = ApiKey.objects.select_related("team")
    return rows if only is None else rows.filter(team=only)


def _teams(request: Request) -> QuerySet[Team]:
    only = only_team(request.user)
    return Team.objects.all() if only is None else Team.objects.filter(pk=only)


def _secret(issued: Issued) -> Response:
    said = {"id": issued.row.pk, "prefix": issued.row.prefix, "key": issued.key, "revision": issued.revision}
    return Response(said, 201)


def _use(request: Request, row: ApiKey) -> dict[str, Any]:
    use = use_seen_by(request.user, row)
    return {} if use is None else asdict(use)
