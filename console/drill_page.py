"""The admin's page that rehearses a provider's failure."""

from __future__ import annotations

import asyncio
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from console.asking import AskingError, configured
from console.drill import FAULTS, MOST_CALLS, DrillError, Plan, Report, drill
from providers.apps import vault
from providers.models import Provider
from routing.admin_home import may_explain

_USUAL = {"model": "", "provider": "", "fault": "503", "calls": "20", "apart": "1", "key": ""}


@never_cache
@require_http_methods(["GET", "POST"])
def drill_page(request: HttpRequest) -> HttpResponse:
    """The form, and below it what happened."""
    if not may_explain(request):
        raise PermissionDenied
    asked = {name: request.POST.get(name, usual).strip()[:256] for name, usual in _USUAL.items()}
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Rehearse a failure",
        "asked": asked,
        "faults": FAULTS,
        "most": MOST_CALLS,
        "providers": Provider.objects.order_by("name").values_list("name", flat=True),
    }
    if request.method == "POST":
        try:
            report = _held(asked)
        except (AskingError, DrillError) as error:
            context["problem"] = str(error)
        else:
            context |= {"report": report, "served": sum(report.served.values())}
    return TemplateResponse(request, "admin/console/drill.html", context)


def _held(asked: dict[str, str]) -> Report:
    try:
        calls, apart = int(asked["calls"]), float(asked["apart"])
    except ValueError:
        raise DrillError("Requests and seconds are numbers.") from None
    snapshot, key = configured(asked["key"], vault())
    plan = Plan(asked["model"], asked["provider"], asked["fault"], calls, apart, key)
    # This view has a thread of its own, which has no loop.
    return asyncio.run(drill(snapshot, plan))
