"""The admin's pages of revisions: what each changed, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.decorators import action

from accounts.admin_base import BoundedLookups
from accounts.rights import Action, may
from accounts.scope import teams_of
from routing.history import Place, UnknownRevisionError, before_and_after, place_of
from routing.impact_words import sections
from routing.models import Revision
from routing.rehearsal import preview, rehearsed
from routing.revisions import describe
from routing.rewind import Outcome, RewindError, restore, undo
from routing.row_names import name


class RevisionAdmin(BoundedLookups):
    """Revisions to read and to go back to: nobody adds, changes or deletes one."""

    when_empty = "Whatever steers traffic and is saved becomes a numbered revision, which can be taken back."

    list_display = ("number", "created", "author", "approved_by", "reason")
    list_filter = ("author", "created")
    search_fields = ("reason", "author")
    fields = ("number", "created", "author", "approved_by", "reason", "changes")
    readonly_fields = fields
    list_per_page = 50
    actions_detail = ("take_back", "go_back")

    def get_urls(self) -> list[URLPattern]:
        return [
            path(
                f"<int:number>/{word}/",
                self.admin_site.admin_view(self.rewind_view),
                {"way": word},
                name=f"routing_revision_{word}",
            )
            for word in _WAYS
        ] + super().get_urls()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Revision]:
        revisions: QuerySet[Revision] = super().get_queryset(request)
        # Number 0 stands for the beginning.
        return revisions.filter(number__gt=0)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Revision | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Revision | None = None) -> bool:
        return False

    def has_rewind_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """For the theme, which asks before it shows the two ways back."""
        return may(request.user, Action.TAKE_BACK)

    @admin.display(description="Changes")
    def changes(self, obj: Revision) -> str:
        return format_html(
            '<pre style="white-space: pre-wrap">{}</pre>', "\n".join(map(describe, obj.summary))
        )

    @action(description="Take these changes back", permissions=["rewind"])
    def take_back(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:routing_revision_undo", args=[object_id]))

    @action(description="Restore everything as of here", permissions=["rewind"])
    def go_back(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:routing_revision_restore", args=[object_id]))

    def rewind_view(self, request: HttpRequest, number: int, way: str) -> HttpResponse:
        """What would change, and after a click it has changed."""
        if not self.has_rewind_permission(request):
            raise PermissionDenied
        user: Any = request.user
        author = user.get_username()
        chosen = _chosen(request)
        try:
            objects = _objects(number) if way == "undo" else []
            with nullcontext() if request.method == "POST" else rehearsed() as rehearsal:
                outcome = _WAYS[way](number, author, chosen, user.is_superuser)
        except (RewindError, UnknownRevisionError) as error:
            return self._page(request, number, {"way": way, "problems": str(error).splitlines()})
        if rehearsal is not None:
            seen = sections(preview(rehearsal, teams_of(user))) if may(user, Action.READ_REQUESTS) else None
            told = {"outcome": _told(outcome), "objects": objects, "chosen": chosen, "impact": seen}
            return self._page(request, number, {"way": way, **told})
        for note in outcome.notes:
            messages.warning(request, note)
        if outcome.revision is None:
            messages.info(request, "Nothing was changed: it is so already.")
            return HttpResponseRedirect(reverse("admin:routing_revision_changelist"))
        messages.success(request, f"Done, as revision {outcome.revision}. Taking that back undoes it.")
        return HttpResponseRedirect(reverse("admin:routing_revision_change", args=[outcome.revision]))

    def _page(self, request: HttpRequest, number: int, more: dict[str, Any]) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "number": number,
            "title": f"Revision {number}",
            **more,
        }
        return TemplateResponse(request, "admin/routing/revision/rewind.html", context)


def _chosen(request: HttpRequest) -> frozenset[Place] | None:
    """The rows that the form names as `table:row`; None: all."""
    words = request.POST.getlist("object") or request.GET.getlist("object")
    return frozenset(filter(None, map(place_of, words))) if words else None


def _objects(number: int) -> list[tuple[str, str]]:
    """Each row that a revision changed: how the form names it, and how people do."""
    before, after = before_and_after(number)
    places = sorted(before.keys() | after.keys())
    return [(f"{place.table}:{place.row}", name(place, after, before)) for place in places]


def _told(outcome: Outcome) -> dict[str, list[str]]:
    return {"changes": [describe(change) for change in outcome.changes], "notes": outcome.notes}


def _undo(number: int, author: str, chosen: frozenset[Place] | None, private: bool) -> Outcome:  # noqa: FBT001 - called by the table below
    return undo(number, author, chosen, private=private)


def _restore(number: int, author: str, _chosen: frozenset[Place] | None, private: bool) -> Outcome:  # noqa: FBT001 - as above
    return restore(number, author, private=private)


_WAYS: dict[str, Callable[[int, str, frozenset[Place] | None, bool], Outcome]] = {
    "undo": _undo,
    "restore": _restore,
}
