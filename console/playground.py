"""The admin's playground: a conversation with any route as any team. The browser asks the API itself, with a
key of the team that lives for half an hour and only in the page, so that limits, ledger and routing are the
real ones, and nothing of what is said comes by here."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts.issuing import Wish
from accounts.ledger.charge import dollars
from accounts.ledger.rows import RequestEntry
from accounts.models import ApiKey, Team
from accounts.rights import Action, may
from accounts.scope import seen_by
from console.apps import running
from routing.admin_home import may_play
from routing.keys import issue_key, revoke_key
from routing.models import Route

_LIFE = timedelta(minutes=30)
# A change is in force within a second.
_IN_FORCE_SECONDS = 3.0
# As many as one scrolls through; any other name may be typed.
_MOST_MODELS = 500


@never_cache
@require_GET
def playground_page(request: HttpRequest) -> HttpResponse:
    """The page."""
    _check(request)
    patterns = Route.objects.filter(enabled=True).order_by("pattern").values_list("pattern", flat=True)
    models = [each for each in patterns.distinct()[:_MOST_MODELS] if not each.endswith("*")]
    context = {
        **admin.site.each_context(request),
        "title": "Playground",
        "teams": _teams(request),
        "models": models,
        "minutes": int(_LIFE.total_seconds() // 60),
    }
    return TemplateResponse(request, "admin/console/playground.html", context)


@never_cache
@require_POST
def playground_key(request: HttpRequest) -> HttpResponse:
    """A key of the team that is named, for the page alone."""
    _check(request)
    said = request.POST.get("team", "")
    team = get_object_or_404(_teams(request), pk=int(said) if said.isascii() and said.isdigit() else 0)
    wish = Wish(label=_label(request), expires_at=timezone.now() + _LIFE)
    issued = issue_key(team, wish, _author(request))
    _until_in_force(issued.revision)
    return JsonResponse({"key": issued.key, "id": issued.row.pk})


@never_cache
@require_POST
def playground_end(request: HttpRequest) -> HttpResponse:
    """Revoke a key that this page has issued for this member of staff."""
    _check(request)
    said = request.POST.get("id", "")
    if not (said.isascii() and said.isdigit() and len(said) <= 18):
        raise Http404
    revoke_key(get_object_or_404(ApiKey, pk=int(said), label=_label(request)), _author(request))
    return HttpResponse(status=204)


@never_cache
@require_GET
def playground_request(request: HttpRequest) -> HttpResponse:
    """What the ledger says of one of the page's requests; 204 until it is there."""
    _check(request)
    user: Any = request.user
    if not may(user, Action.READ_REQUESTS):
        raise PermissionDenied
    keys = ApiKey.objects.filter(label=_label(request)).values("pk")
    rows = seen_by(user, RequestEntry.objects.filter(key_id__in=keys))
    row = (
        rows.filter(request_id=request.GET.get("id", "").replace("\0", "")).exclude(state="reserved").first()
    )
    if row is None:
        return HttpResponse(status=204)
    return JsonResponse(
        {
            "route": row.route,
            "provider": row.provider,
            "model": row.upstream_model,
            "attempts": row.tries,
            "cost": "no price" if row.cost is None else dollars(row.cost),
            "input_tokens": row.input_tokens,
            "output_tokens": row.output_tokens,
            "first_ms": row.ttft_ms,
            "total_ms": row.total_ms,
            "dropped": row.dropped,
            "address": f"/admin/accounts/requestentry/{row.pk}/change/",
        }
    )


def _until_in_force(revision: int) -> None:
    """Wait until this process knows the key. Others may take a moment longer: then the page asks again."""
    now = running()
    end = time.monotonic() + _IN_FORCE_SECONDS
    while now is not None and now.snapshot().revision < revision and time.monotonic() < end:
        time.sleep(0.02)


def _check(request: HttpRequest) -> None:
    if not may_play(request):
        raise PermissionDenied


def _teams(request: HttpRequest) -> QuerySet[Team]:
    return seen_by(request.user, Team.objects.order_by("name"), "pk")


def _author(request: HttpRequest) -> str:
    user: Any = request.user
    name: str = user.get_username()
    return name


def _label(request: HttpRequest) -> str:
    return f"playground of {_author(request)}"[:100]
