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
from routing.draft_ways import Sight, clashes_of, decide, drop, seen
from routing.drafts import DraftError
from routing.history import place_of
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


class Clashes(serializers.Serializer[Any]):
    """A row that others changed meanwhile as well: how `decide` names it, and all that clashes in it."""

    object = serializers.CharField()
    words = serializers.ListField(child=serializers.CharField())


class DraftWhole(Drafts):
    """A draft and what publishing it would do. `clashes`: what others changed meanwhile and somebody must
    decide; `problems`: what else keeps it from being published; `approvals`: the last asked for first."""

    changes = serializers.ListField(child=serializers.CharField())
    clashes = Clashes(many=True)
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
        return _whole(get_object_or_404(Draft, pk=number), request.user)


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


class Decision(serializers.Serializer[Any]):
    """Which of two changes of a row is to be, where they clash; what does not clash is kept of both."""

    object = serializers.CharField(max_length=40, help_text="As the draft's `clashes` name it: route:12.")
    take = serializers.ChoiceField(["draft", "published"])


@needs(POST=Action.EDIT_DRAFTS)
class DraftDecideView(ManageView):
    """A clash that somebody decides."""

    @extend_schema(
        operation_id="drafts_decide", parameters=[IF_MATCH], request=Decision, responses=DraftWhole
    )
    def post(self, request: Request, number: int) -> Response:
        """Take the draft's change of one row or the one that was published since, as on the draft's page. 409
        where nothing of it clashes. The answer has the ETag for the next."""
        draft = get_object_or_404(Draft, pk=number)
        given = Decision(data=request.data)
        given.is_valid(raise_exception=True)
        said = given.validated_data
        sight = seen(draft) if draft.standing else Sight()
        check_match(request, f'"{sight.print_}"')
        if draft.standing and said["object"] not in clashes_of(sight):
            raise Refused(409, "Nothing of this object clashes.", ["object"])
        try:
            decide(draft, place_of(said["object"]), mine=said["take"] == "draft")
        except DraftError as error:
            raise Refused(409, "It cannot be decided.", error.problems) from None
        return _whole(draft, request.user)


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


def _whole(draft: Draft, user: Any) -> Response:
    """As `drafts_read` gives it, with its ETag where it can still be published."""
    said: dict[str, Any] = {**Drafts(draft).data, "changes": [], "clashes": [], "problems": []}
    said["approvals"] = Approvals(draft.approvals.all()[:20], many=True).data
    if not draft.standing:
        return Response(said)
    sight = seen(draft)
    said["changes"], said["problems"] = sight.lines, sight.problems
    said["clashes"] = [{"object": place, "words": words} for place, words in clashes_of(sight).items()]
    if sight.rehearsal is not None and may(user, Action.READ_REQUESTS):
        said["impact"] = msgspec.to_builtins(preview(sight.rehearsal, teams_of(user)))
    return Response(said, headers={"ETag": f'"{sight.print_}"'})
