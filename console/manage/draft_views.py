"""Drafts at the management API: listed, looked over, published and dropped."""

from __future__ import annotations

from typing import Any

import msgspec
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.acting import acting
from accounts.rights import Action, may
from accounts.scope import teams_of
from console.manage.access import ManageView, Refused, awaiting, needs
from console.manage.asked import IF_MATCH, REASON, check_match, page_size
from routing.approvals import approve, publish_or_ask, reject, withdraw
from routing.draft_ways import drop, seen, words_of
from routing.drafts import DraftError
from routing.history import present
from routing.models_approvals import Approval
from routing.models_drafts import Draft
from routing.rehearsal import preview


class Drafts(serializers.ModelSerializer[Draft]):
    """A draft. `base`: the revision that it began from; `revision`: the one that it became."""

    class Meta:
        model = Draft
        fields: tuple[str, ...] = (
            "id",
            "name",
            "note",
            "author",
            "state",
            "created",
            "changed",
            "base",
            "revision",
        )


class Approvals(serializers.ModelSerializer[Approval]):
    """A request for approval. `risks`: why it takes somebody else; `words`: what was said to it."""

    class Meta:
        model = Approval
        fields = (
            "state",
            "asked_by",
            "asked",
            "reason",
            "risks",
            "answered_by",
            "answered",
            "words",
        )


class DraftWhole(Drafts):
    """A draft and what publishing it would do. `clashes`: what others changed meanwhile and somebody must
    decide; `problems`: what else keeps it from being published; `approvals`: the last asked for first."""

    changes = serializers.ListField(child=serializers.CharField())
    clashes = serializers.ListField(child=serializers.CharField())
    problems = serializers.ListField(child=serializers.CharField())
    impact = serializers.JSONField(required=False)
    approvals = Approvals(many=True)

    class Meta(Drafts.Meta):
        fields = (*Drafts.Meta.fields, "changes", "clashes", "problems", "impact", "approvals")


@needs(GET=Action.READ_DRAFTS)
class DraftsView(ManageView):
    """Changes that steer nothing yet."""

    @extend_schema(operation_id="drafts_list", responses=Drafts(many=True))
    def get(self, request: Request) -> Response:
        """The last changed first."""
        return Response(Drafts(Draft.objects.all()[: page_size(request)], many=True).data)


@needs(GET=Action.READ_DRAFTS)
class DraftView(ManageView):
    """One draft."""

    @extend_schema(operation_id="drafts_read", responses=DraftWhole)
    def get(self, request: Request, number: int) -> Response:
        """What it would change now, with an ETag of just that."""
        draft = get_object_or_404(Draft, pk=number)
        said: dict[str, Any] = {**Drafts(draft).data, "changes": [], "clashes": [], "problems": []}
        said["approvals"] = Approvals(draft.approvals.all()[:20], many=True).data
        if not draft.standing:
            return Response(said)
        sight, user = seen(draft), request.user
        names = present() if sight.clashes else {}
        said["changes"], said["problems"] = sight.lines, sight.problems
        said["clashes"] = [words_of(each, names) for each in sight.clashes]
        if sight.rehearsal is not None and may(user, Action.READ_REQUESTS):
            said["impact"] = msgspec.to_builtins(preview(sight.rehearsal, teams_of(user)))
        return Response(said, headers={"ETag": f'"{sight.print_}"'})


@needs(POST=Action.EDIT_DRAFTS)
class DraftPublishView(ManageView):
    """A draft that becomes a revision."""

    @extend_schema(
        operation_id="drafts_publish", parameters=[IF_MATCH, REASON], request=None, responses=Drafts
    )
    def post(self, request: Request, number: int) -> Response:
        """All of it at once. 412 when what it changes is not what was read, 409 with what clashes, 403 where
        one of its changes is not yours to make; 202 where it now awaits approval by somebody else."""
        draft = get_object_or_404(Draft, pk=number)
        if draft.standing:
            # Said again under the lock, where it counts.
            print_ = seen(draft).print_
            check_match(request, f'"{print_}"')
        else:
            print_ = ""
        now = acting()
        try:
            done = publish_or_ask(draft, request.user, now.reason if now else "", print_)
        except DraftError as error:
            raise Refused(409, "It cannot be published as it is.", error.problems) from None
        if isinstance(done, Approval):
            return Response(awaiting(done), 202)
        return Response(Drafts(draft).data)


class Words(serializers.Serializer[Any]):
    """Why."""

    words = serializers.CharField(max_length=500)


@needs(POST=Action.APPROVE)
class DraftApproveView(ManageView):
    """A risky change that somebody else looked at."""

    @extend_schema(operation_id="drafts_approve", parameters=[IF_MATCH], request=None, responses=Drafts)
    def post(self, request: Request, number: int) -> Response:
        """Publish what somebody else asked for, just as it was read: If-Match is the draft's ETag, and * is
        none. 409 with why it is void."""
        draft = get_object_or_404(Draft, pk=number)
        if request.headers.get("If-Match", "").strip() == "*":
            raise Refused(428, "Say by If-Match what you approve: the draft's ETag.")
        print_ = seen(draft).print_ if draft.standing else ""
        check_match(request, f'"{print_}"')
        try:
            found = approve(draft, request.user, print_)
        except DraftError as error:
            raise Refused(409, "It cannot be approved.", error.problems) from None
        if found.revision is None:
            raise Refused(409, "It is void, and has to be asked for anew.", found.problems)
        return Response(Drafts(draft).data)


@needs(POST=Action.APPROVE)
class DraftRejectView(ManageView):
    """A risky change that is not to be."""

    @extend_schema(operation_id="drafts_reject", request=Words, responses=Drafts)
    def post(self, request: Request, number: int) -> Response:
        """Say why. The draft stays, to be mended and asked for again."""
        draft = get_object_or_404(Draft, pk=number)
        given = Words(data=request.data)
        given.is_valid(raise_exception=True)
        try:
            reject(draft, request.user, given.validated_data["words"])
        except DraftError as error:
            raise Refused(409, "It cannot be rejected.", error.problems) from None
        return Response(Drafts(draft).data)


@needs(POST=Action.READ_DRAFTS)
class DraftWithdrawView(ManageView):
    """A request that is made no more."""

    @extend_schema(operation_id="drafts_withdraw", request=None, responses=Drafts)
    def post(self, request: Request, number: int) -> Response:
        """By whoever asked, or who may edit drafts."""
        draft = get_object_or_404(Draft, pk=number)
        try:
            withdraw(draft, request.user)
        except DraftError as error:
            raise Refused(409, "Nobody is asked.", error.problems) from None
        return Response(Drafts(draft).data)


@needs(POST=Action.EDIT_DRAFTS)
class DraftDropView(ManageView):
    """A draft that is not to be."""

    @extend_schema(operation_id="drafts_drop", parameters=[REASON], request=None, responses=Drafts)
    def post(self, _request: Request, number: int) -> Response:
        """It stays to be read."""
        draft = get_object_or_404(Draft, pk=number)
        try:
            drop(draft, self.author)
        except DraftError as error:
            raise Refused(409, "It is over.", error.problems) from None
        return Response(Drafts(draft).data)
