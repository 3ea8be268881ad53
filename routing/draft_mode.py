"""The admin's mode in which whatever somebody saves goes into his draft: pages of what steers traffic show
the draft's state, and what they save is caught and taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin
from django.utils.html import format_html

from accounts.rights import Action, may
from routing.drafts import DraftError, drafting, looked_at
from routing.models_drafts import OPEN, Draft

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


class DraftMode(MiddlewareMixin):
    """Stands before the pages; the last of the middlewares, so that what others keep is kept."""

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        match = request.resolver_match
        if match is None or match.namespace != "admin" or match.url_name not in _PAGES:
            return None
        if _SESSION not in request.session:
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
