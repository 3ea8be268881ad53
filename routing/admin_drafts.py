"""The admin's pages of drafts: the list, and of each what it changes, what that would do, and what is done
with it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from accounts.admin_base import BoundedLookups
from accounts.rights import Action, may
from accounts.row_ids import is_id
from accounts.scope import teams_of
from routing.admin_approvals import ANSWERS, publish_here
from routing.approvals import asked, may_answer
from routing.apps import own_addresses
from routing.draft_mode import draft_of, enter, leave
from routing.draft_ways import Sight, begin, clashes_of, decide, drop, open_draft, seen
from routing.drafts import DraftError
from routing.findings import Finding
from routing.history import place_of
from routing.impact_words import sections
from routing.lint import lint
from routing.models_approvals import ASKED, Approval
from routing.models_drafts import Draft
from routing.rehearsal import preview


class DraftForm(forms.ModelForm):
    """A new draft. The form does not know the column that decides whether a name is free."""

    class Meta:
        model = Draft
        fields = ("name", "note")

    def clean_name(self) -> str:
        title: str = self.cleaned_data["name"]
        if open_draft(title) is not None:
            raise forms.ValidationError("There is a draft of this name.")
        return title


class DraftAdmin(BoundedLookups):
    """Drafts. A page of one is no form: its changes are made on the pages of what is changed."""

    when_empty = (
        "A draft gathers changes that steer nothing until they are published together. Forms have a "
        "button that begins one."
    )

    form = DraftForm
    list_display = ("name", "state", "awaits", "author", "objects_", "changed", "base", "revision")
    list_filter = ("state", "author")
    search_fields = ("name", "note", "author")
    fields = ("name", "note")
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[Draft]:
        rows: QuerySet[Draft] = super().get_queryset(request)
        waiting = Approval.objects.filter(draft=OuterRef("pk"), state=ASKED)
        return rows.annotate(held=Count("rows"), waiting=Exists(waiting))

    @admin.display(description="Awaits approval", boolean=True)
    def awaits(self, obj: Any) -> bool:
        return bool(obj.waiting)

    @admin.display(description="Objects")
    def objects_(self, obj: Any) -> int:
        return int(obj.held)

    def has_delete_permission(self, request: HttpRequest, obj: Draft | None = None) -> bool:
        """A draft is dropped, and stays to be read."""
        return False

    def save_model(self, request: HttpRequest, obj: Draft, form: Any, change: Any) -> None:
        user: Any = request.user
        made = begin(obj.name, user.get_username(), obj.note)
        obj.pk = made.pk
        obj.refresh_from_db()
        enter(request, obj)

    def response_add(self, request: HttpRequest, obj: Draft, post_url_continue: Any = None) -> HttpResponse:
        return self._back(obj)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """What it is, and what is to be done with it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        draft = get_object_or_404(Draft, pk=object_id if is_id(object_id) else 0)
        if request.method == "POST":
            return self._do(request, draft)
        user: Any = request.user
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Draft {draft}",
            "draft": draft,
            "edits": self.has_change_permission(request),
            "explains": may(user, Action.EXPLAIN),
            "here": draft_of(request) == draft,
        }
        if draft.standing:
            context |= _shown(user, seen(draft))
            context |= _to_answer(user, draft)
        return TemplateResponse(request, "admin/routing/draft/draft.html", context)

    def _do(self, request: HttpRequest, draft: Draft) -> HttpResponse:
        user: Any = request.user
        said = request.POST.get("do", "")
        try:
            if said in ANSWERS:
                # Who may is asked there: it takes another right, and not everybody who has it.
                ANSWERS[said](request, draft)
                return self._back(draft)
            if not self.has_change_permission(request):
                raise PermissionDenied
            if said == "edit" and draft.standing:
                enter(request, draft)
                messages.success(request, f"What you save from now on goes into the draft {draft}.")
            elif said == "leave":
                leave(request)
                messages.success(request, "What you save from now on is published at once.")
            elif said == "drop":
                drop(draft, user.get_username())
                messages.success(request, "Dropped.")
            elif said in ("mine", "theirs"):
                decide(draft, place_of(request.POST.get("place", "")), mine=said == "mine")
            elif said == "publish":
                publish_here(request, draft)
        except DraftError as error:
            for problem in error.problems:
                messages.error(request, problem)
        return self._back(draft)

    def _back(self, draft: Draft) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:routing_draft_change", args=[draft.pk]))


def _shown(user: Any, sight: Sight) -> dict[str, Any]:
    shown: dict[str, Any] = {"sight": sight, "clashes": clashes_of(sight)}
    if sight.rehearsal is not None and may(user, Action.LINT):
        shown["findings"], shown["cured"] = _findings(sight)
    if sight.rehearsal is not None and may(user, Action.READ_REQUESTS):
        shown["impact"] = sections(preview(sight.rehearsal, teams_of(user)))
    return shown


def _to_answer(user: Any, draft: Draft) -> dict[str, Any]:
    """Whether somebody is to approve it, and what was said the last time."""
    approval = asked(draft)
    return {
        "asked": approval,
        "answers": approval is not None and may_answer(draft, approval, user),
        "withdraws": approval is not None and (approval.asker == user.pk or may(user, Action.EDIT_DRAFTS)),
        "last": draft.approvals.exclude(state=ASKED).first(),
    }


def _findings(sight: Sight) -> tuple[list[Finding], int]:
    """What is not well and is so now, and how much of what is not well would be."""
    if sight.rehearsal is None:
        return [], 0
    now, own = timezone.now(), own_addresses()
    before = lint(sight.rehearsal.before, now, own)
    after = lint(sight.rehearsal.after, now, own)
    return [each for each in after if each not in before], sum(each not in after for each in before)
