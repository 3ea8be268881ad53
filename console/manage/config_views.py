"""The configuration as one document: read, planned, applied, and its revisions taken back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import msgspec
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.apps import hasher
from accounts.audit import differences
from accounts.rights import Action, may
from accounts.scope import teams_of
from console.manage.access import ManageView, Refused, needs
from console.manage.asked import IF_MATCH, REASON, check_match, number_in, page_size
from console.manage.shapes import Planned, Published, Revisions, RevisionWhole, Undoing
from providers.apps import vault
from routing.audit import HIDDEN
from routing.configfile import ConfigError, parse
from routing.configfile_apply import Means, apply
from routing.configfile_export import export
from routing.draft_ways import gathered
from routing.drafts import DraftError
from routing.history import Place, UnknownRevisionError, before_and_after, place_of
from routing.models import Revision
from routing.past import rows_at
from routing.rehearsal import preview, rehearsed
from routing.revisions import describe, hold, latest
from routing.rewind import RewindError, restore, undo
from routing.row_names import name

_DRY = OpenApiParameter("dry_run", bool, description="Say what would change, and change nothing.")
_INTO = OpenApiParameter(
    "draft",
    str,
    description="Into the draft of this name, begun where there is none.",
)
_DOCUMENT = {"type": "object", "description": "As `manage.py config export` writes it."}
_SENT = {"application/json": _DOCUMENT}


@needs(GET=Action.READ_CONFIG, POST=Action.APPLY_CONFIG)
class ConfigView(ManageView):
    """The whole configuration without secrets."""

    @extend_schema(
        operation_id="config_read",
        parameters=[OpenApiParameter("revision", int, description="As it was then; without: as it is.")],
        responses={200: _DOCUMENT},
    )
    def get(self, request: Request) -> Response:
        """The configuration, with its revision as ETag."""
        number = number_in(request, "revision", 0) if "revision" in request.query_params else None
        try:
            with transaction.atomic():
                document = export(None if number is None else rows_at(number))
                shown = latest() if number is None else number
        except UnknownRevisionError as error:
            raise Refused(404, str(error)) from None
        return Response(document, headers={"ETag": _tag(shown)})

    @extend_schema(
        operation_id="config_apply",
        parameters=[IF_MATCH, REASON, _INTO],
        request=_SENT,
        responses=Published,
    )
    def post(self, request: Request) -> Response:
        """Bring the configuration to what the document names, and touch nothing else: one transaction, one
        revision. 412 when somebody has changed it since it was read."""
        with transaction.atomic():
            hold()
            check_match(request, _tag(latest()))
            if "draft" not in request.query_params:
                outcome = _apply(request, self.author)
                return Response(_told(outcome), headers={"ETag": _tag(latest())})
            said = self._drafted(request, request.query_params["draft"])
        return Response(said, headers={"ETag": _tag(latest())})

    def _drafted(self, request: Request, title: str) -> dict[str, Any]:
        if not may(request.user, Action.EDIT_DRAFTS):
            raise PermissionDenied
        try:
            draft, outcome = gathered(title, self.author, lambda: _apply(request, self.author))
        except DraftError as error:
            raise Refused(409, "The draft cannot take it.", error.problems) from None
        return {**_told(outcome), "revision": None, "draft": draft.pk}


@needs(POST=Action.APPLY_CONFIG)
class PlanView(ManageView):
    """What a document would change."""

    @extend_schema(operation_id="config_plan", request=_SENT, responses=Planned)
    def post(self, request: Request) -> Response:
        """What applying it would change, and what that would have done to recent requests. Nothing is
        changed."""
        with rehearsed() as rehearsal:
            outcome = _apply(request, self.author)
        said: dict[str, Any] = {**_told(outcome), "revision": None}
        user: Any = request.user
        if may(user, Action.READ_REQUESTS):
            said["impact"] = msgspec.to_builtins(preview(rehearsal, teams_of(user)))
        return Response(said, headers={"ETag": _tag(latest())})


@needs(GET=Action.READ_REVISIONS)
class RevisionsView(ManageView):
    """Changes, the newest first."""

    @extend_schema(
        operation_id="revisions_list",
        parameters=[
            OpenApiParameter("before", int, description="Only revisions before this one."),
            OpenApiParameter("limit", int, description="So many, 200 at most (100)."),
        ],
        responses=Revisions(many=True),
    )
    def get(self, request: Request) -> Response:
        """Revisions, a page of them; the last one's number is `before` of the next page."""
        rows = Revision.objects.filter(number__gt=0)
        if "before" in request.query_params:
            rows = rows.filter(number__lt=number_in(request, "before", 0))
        return Response([_revision(row) for row in rows[: page_size(request)]])


@needs(GET=Action.READ_REVISIONS)
class RevisionView(ManageView):
    """One change."""

    @extend_schema(operation_id="revisions_read", responses=RevisionWhole)
    def get(self, _request: Request, number: int) -> Response:
        """What it changed, row by row, by whom and why."""
        row = get_object_or_404(Revision, number=number)
        return Response({**_revision(row), "objects": _objects(number)})


@needs(POST=Action.TAKE_BACK)
class _RewindView(ManageView):
    def rewind(self, request: Request, number: int, how: Callable[..., Any], *what: Any) -> Response:
        """Done as one new revision."""
        user: Any = request.user
        if "If-Match" in request.headers:
            check_match(request, _tag(latest()))
        dry = request.query_params.get("dry_run", "false").lower() in ("1", "true")
        try:
            with rehearsed() if dry else nullcontext():
                outcome = how(number, self.author, *what, private=user.is_superuser)
        except UnknownRevisionError as error:
            raise Refused(404, str(error)) from None
        except RewindError as error:
            raise Refused(409, "It cannot be taken back as it is.", error.problems) from None
        said = _told(outcome)
        return Response({**said, "revision": None} if dry else said)


class UndoView(_RewindView):
    """A change taken back."""

    @extend_schema(
        operation_id="revisions_undo", parameters=[_DRY, REASON], request=Undoing, responses=Published
    )
    def post(self, request: Request, number: int) -> Response:
        """Take back what a revision changed, or some rows of it, as one new revision. 409 when something else
        has changed it since."""
        given = Undoing(data=request.data)
        given.is_valid(raise_exception=True)
        return self.rewind(request, number, undo, _places(given.validated_data.get("objects")))


class RestoreView(_RewindView):
    """An old state brought back."""

    @extend_schema(
        operation_id="revisions_restore", parameters=[_DRY, REASON], request=None, responses=Published
    )
    def post(self, request: Request, number: int) -> Response:
        """Bring everything to how it was at a revision, as one new revision."""
        return self.rewind(request, number, restore)


def _apply(request: Request, author: str) -> Any:
    if not isinstance(request.data, dict):
        raise Refused(400, "The body is a JSON object.")
    # Of this process's environment a document from elsewhere may name nothing.
    means = Means(vault=vault(), hasher=hasher(), environ={})
    try:
        return apply(parse(request.data), means, author=author, reason="management API")
    except ConfigError as error:
        raise Refused(400, "The document cannot be applied.", error.problems) from None


def _tag(number: int) -> str:
    return f'"r{number}"'


def _told(outcome: Any) -> dict[str, Any]:
    return {
        "changes": [describe(change) for change in outcome.changes],
        "notes": outcome.notes,
        "revision": outcome.revision,
    }


def _revision(row: Revision) -> dict[str, Any]:
    return {
        "number": row.number,
        "at": row.created,
        "author": row.author,
        "approved_by": row.approved_by,
        "reason": row.reason,
        "changes": [describe(change) for change in row.summary],
    }


def _objects(number: int) -> list[dict[str, Any]]:
    """Each row that a revision changed."""
    try:
        before, after = before_and_after(number)
    except UnknownRevisionError:
        return []
    return [
        {
            "object": f"{place.table}:{place.row}",
            "name": name(place, after, before),
            "changes": differences(before.get(place), after.get(place), HIDDEN),
        }
        for place in sorted(before.keys() | after.keys())
    ]


def _places(objects: list[str] | None) -> frozenset[Place] | None:
    if objects is None:
        return None
    places = [place_of(each) for each in objects]
    if not places or None in places:
        raise Refused(400, "objects are named as the revision names them, such as route:12.", ["objects"])
    return frozenset(filter(None, places))
