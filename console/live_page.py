"""The admin's page of live traffic, and what is done there in an incident."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts.rights import Action, may
from accounts.row_ids import is_id
from console.live_told import history
from providers.models import Provider
from routing.admin_home import may_watch
from routing.measures import MOST_MINUTES, begin, end, standing
from routing.models import Measure

_OVER = 10


@never_cache
@require_GET
def live_page(request: HttpRequest) -> HttpResponse:
    """The page; what goes on comes by its WebSocket."""
    if not may_watch(request):
        raise PermissionDenied
    user: Any = request.user
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Live traffic",
        "everything": may(user, Action.READ_EVERY_TEAM),
        "history": history(user),
        "measures": may(user, Action.READ_MEASURES),
        "takes": may(user, Action.TAKE_MEASURES),
        "most": MOST_MINUTES,
    }
    if context["measures"]:
        context["standing"] = standing()
        context["over"] = Measure.objects.exclude(ended=None).select_related("provider")[:_OVER]
    if context["takes"]:
        context["providers"] = Provider.objects.filter(enabled=True).order_by("name")
    return TemplateResponse(request, "admin/console/live.html", context)


@never_cache
@require_POST
def live_measure(request: HttpRequest) -> HttpResponse:
    """Begin a measure."""
    author = _author(request)
    number = request.POST.get("provider", "")
    minutes = request.POST.get("minutes", "")
    if not (is_id(minutes) and 1 <= int(minutes) <= MOST_MINUTES):
        messages.error(request, f"For how long: from 1 to {MOST_MINUTES} minutes.")
        return _back()
    measure = Measure(
        kind=request.POST.get("kind", ""),
        provider=get_object_or_404(Provider, pk=int(number)) if is_id(number) else None,
        reason=request.POST.get("reason", "").replace("\0", "").strip(),
    )
    try:
        begin(measure, int(minutes), author)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(request, f"Begun: {measure}, until {measure.until:%Y-%m-%d %H:%M} UTC.")
    return _back()


@never_cache
@require_POST
def live_end(request: HttpRequest) -> HttpResponse:
    """End a measure before its time."""
    author = _author(request)
    number = request.POST.get("id", "")
    if not is_id(number):
        raise Http404
    measure = get_object_or_404(Measure, pk=int(number))
    end(measure, author)
    messages.success(request, f"Ended: {measure}.")
    return _back()


def _author(request: HttpRequest) -> str:
    user: Any = request.user
    if not may(user, Action.TAKE_MEASURES):
        raise PermissionDenied
    name: str = user.get_username()
    return name


def _back() -> HttpResponseRedirect:
    return HttpResponseRedirect(reverse("live"))
