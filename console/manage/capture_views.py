"""Captured prompts: read one by one, and forgotten."""

from __future__ import annotations

import orjson
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.capture.keep import forget_request, forget_team, looked_at
from accounts.models import Capture, Team
from accounts.rights import Action
from accounts.scope import seen_by
from console.manage.access import ManageView, Refused, needs
from providers.apps import vault
from providers.crypto import VaultError

_ANY = {"type": "object"}


@needs(GET=Action.READ_CAPTURES, DELETE=Action.FORGET_CAPTURES)
class CaptureView(ManageView):
    """What one request said and was answered."""

    scoped = True

    @extend_schema(operation_id="captures_read", responses={200: _ANY})
    def get(self, request: Request, request_id: str) -> Response:
        """As it was stored: redacted, and cut where it was long. Each look is in the audit log."""
        row = get_object_or_404(seen_by(request.user, Capture.objects.all()), request_id=request_id)
        looked_at(row)
        try:
            said = orjson.loads(vault().open(row.sealed, row.owner))
        except VaultError:
            raise Refused(409, "No configured key opens it.") from None
        return Response(
            {
                "request_id": row.request_id,
                "team_id": row.team_id,
                "at": row.at,
                "surface": row.surface,
                "status": row.status,
                "cached": row.cached,
                "cut": row.cut,
                **said,
            }
        )

    @extend_schema(operation_id="captures_forget", responses={204: None})
    def delete(self, request: Request, request_id: str) -> Response:
        """Forget it, for good."""
        forget_request(get_object_or_404(seen_by(request.user, Capture.objects.all()), request_id=request_id))
        return Response(status=204)


@needs(POST=Action.FORGET_CAPTURES)
class ForgetView(ManageView):
    """All that a team has captured."""

    scoped = True

    @extend_schema(operation_id="captures_forget_team", request=None, responses={200: _ANY})
    def post(self, request: Request, number: int) -> Response:
        """Forget all of it now, what is under way too."""
        team = get_object_or_404(seen_by(request.user, Team.objects.all(), "pk"), pk=number)
        return Response({"forgotten": forget_team(team.pk)})
