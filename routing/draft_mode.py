"""The admin's two ways into a draft. A mode in which whatever somebody saves goes into it: pages of what
steers traffic show the draft's state, and what they save is caught and taken back. And a button of their
forms that saves one edit of the published state into it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.deprecation import MiddlewareMixin
from django.utils.html import format_html

from accounts.rights import Action, may
from accounts.row_ids import is_id
from routing.draft_ways import begin, open_draft
from routing.drafts import DraftError, drafting, looked_at
from routing.models_approvals import ASKED, Approval
from routing.models_drafts import OPEN, Draft
from routing.revisions import hold

_SESSION = "draft"
# Keys are not drafted: one is shown once when it is issued, and revoked at once.
_TABLES = (
    "providers_provider",
    "providers_cataloguemodel",
    "routing_route",
    "accounts_team",
    "accounts_limit",
    "accounts_budget",
)
_FORMS = frozenset(f"{table}_{page}" for table in _TABLES for page in ("add", "change"))
_INTO, _WHICH, _NEW = "_into_draft", "_draft", "new"
# More than anybody works on at once; the others are entered on their own pages.
_MOST_OFFERED = 20
# What an action of a list does that edits nothing is not drafted either: it would be taken back, and the page
# would say that it was done.
_AT_ONCE = frozenset({"purge_cache", "forget_captures"})
_PAGES = frozenset(
    f"{table}_{page}" for table in _TABLES for page in ("changelist", "add", "change", "delete")
) | {"autocomplete"}


def draft_of(request: HttpRequest) -> Draft | None:
    """The draft that somebody edits in this session."""
    number = request.session.get(_SESSION) if hasattr(request, "session") else None
    return Draft.objects.filter(pk=number, state=OPEN).first() if number else None


def enter(request: HttpRequest, draft: Draft) -> None:
    """From now on saves of this session go into it."""
    request.session[_SESSION] = draft.pk


def leave(request: HttpRequest) -> None:
    """From now on saves of this session are published."""
    request.session.pop(_SESSION, None)


def badge(request: HttpRequest) -> list[str] | None:
    """For the theme: what stands beside every page's title."""
    draft = draft_of(request)
    return [f"Draft: {draft}", "warning"] if draft is not None else None


def offered(request: HttpRequest) -> list[tuple[str, str]]:
    """Beside the button of a form: the drafts that the edit can be saved into, by the values of their choice
    and their names, the one that this user edited last first. Empty where the button is not to be."""
    match = request.resolver_match
    if match is None or match.url_name not in _FORMS or not may(request.user, Action.EDIT_DRAFTS):
        return []
    if draft_of(request) is not None:
        # The other buttons save into that one.
        return []
    # One that somebody is to approve is edited on purpose, on its own page: what was asked is void by it.
    waiting = Approval.objects.filter(draft=OuterRef("pk"), state=ASKED)
    drafts = Draft.objects.filter(~Exists(waiting), state=OPEN)[:_MOST_OFFERED]
    user = request.user.pk
    found = sorted(drafts, key=lambda each: user not in (each.editors or ()))
    return [*((str(each.pk), each.name) for each in found), (_NEW, "a new draft")]


class DraftMode(MiddlewareMixin):
    """Stands before the pages; the last of the middlewares, so that what others keep is kept."""

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        match = request.resolver_match
        if match is None or match.namespace != "admin" or match.url_name not in _PAGES:
            return None
        if request.method == "POST" and _INTO in request.POST and match.url_name in _FORMS:
            return _saved_into(request, lambda: view(request, *args, **kwargs))
        if _SESSION not in request.session or _acts_at_once(request, match.url_name):
            return None
        draft = draft_of(request)
        if draft is None:
            # It was published or dropped meanwhile: nothing is to steer traffic that was meant for it.
            leave(request)
            messages.warning(request, "The draft that you edited is over. Nothing was saved.")
            return HttpResponseRedirect(request.path)
        if not may(request.user, Action.EDIT_DRAFTS):
            # The right was taken away, and with it the mode; what is saved now is not meant to be published.
            leave(request)
            raise PermissionDenied
        try:
            if request.method in ("GET", "HEAD"):
                _say(request, draft)
                with looked_at(draft):
                    response = _rendered(view(request, *args, **kwargs))
            else:
                with drafting(draft):
                    response = _rendered(view(request, *args, **kwargs))
        except DraftError as error:
            for words in error.problems:
                messages.error(request, words)
            return HttpResponseRedirect(reverse("admin:routing_draft_change", args=[draft.pk]))
        return response


def _saved_into(request: HttpRequest, save: Callable[[], Any]) -> HttpResponse:
    """One form, whose edit goes into the draft that it names, which is begun where it names none. A form that
    is refused begins none."""
    if not may(request.user, Action.EDIT_DRAFTS):
        raise PermissionDenied
    try:
        with transaction.atomic():
            hold()
            draft = _named(request)
            before = draft.changed
            with drafting(draft, published=True):
                response = _rendered(save())
            saved = response.status_code == HTTPStatus.FOUND and draft.changed != before
            transaction.set_rollback(not saved)
    except DraftError as error:
        for words in error.problems:
            messages.error(request, words)
        return HttpResponseRedirect(request.path)
    if response.status_code != HTTPStatus.FOUND:
        return response
    _take_back_success(request)
    if not saved:
        messages.info(request, "Nothing was changed, so nothing went into a draft.")
        return HttpResponseRedirect(request.path)
    messages.success(request, f"Saved into the draft {draft}. It steers nothing until it is published.")
    return HttpResponseRedirect(reverse("admin:routing_draft_change", args=[draft.pk]))


def _named(request: HttpRequest) -> Draft:
    """The draft that the form names, or a new one. Raises DraftError."""
    said = request.POST.get(_WHICH, _NEW)
    if said != _NEW:
        draft = Draft.objects.filter(pk=int(said) if is_id(said) else 0, state=OPEN).first()
        if draft is None:
            raise DraftError(["That draft is over. Nothing was saved."])
        return draft
    user: Any = request.user
    author = user.get_username()
    title = f"{author[:60]} {timezone.now():%Y-%m-%d %H:%M}"
    names = itertools.chain([title], (f"{title} ({number})" for number in itertools.count(2)))
    return begin(next(each for each in names if open_draft(each) is None), author)


def _take_back_success(request: HttpRequest) -> None:
    """The page says that it was changed, which it was not; what else it says of the edit stays."""
    queued: Any = messages.get_messages(request)
    queued._queued_messages[:] = [each for each in queued._queued_messages if each.level != messages.SUCCESS]


def _acts_at_once(request: HttpRequest, page: str) -> bool:
    return page.endswith("_changelist") and request.POST.get("action") in _AT_ONCE


def _say(request: HttpRequest, draft: Draft) -> None:
    if request.resolver_match is not None and request.resolver_match.url_name != "autocomplete":
        words = format_html(
            'You edit the draft <a href="{}"><b>{}</b></a>: what you save here goes into it and '
            "steers nothing until it is published.",
            reverse("admin:routing_draft_change", args=[draft.pk]),
            draft.name,
        )
        messages.info(request, words)


def _rendered(response: Any) -> HttpResponse:
    """Whole, while the tables are as the draft would have them."""
    if hasattr(response, "render") and not response.is_rendered:
        response.render()
    whole: HttpResponse = response
    return whole
