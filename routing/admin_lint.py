"""The admin's page of what is not well about the configuration."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.rights import Action, may
from routing.findings import Where
from routing.lint_now import TABLES, findings

_PAGES = {
    table: f"admin:{model._meta.label_lower.replace('.', '_')}_change" for model, table in TABLES.items()
}


def may_lint(request: HttpRequest) -> bool:
    """Whether somebody may see all that the page tells of."""
    return may(request.user, Action.LINT)


@never_cache
@require_GET
def lint_page(request: HttpRequest) -> HttpResponse:
    """All findings of now, each with its row and how to mend it."""
    if not may_lint(request):
        raise PermissionDenied
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Check the configuration",
        "findings": [{"said": each, "link": _link(each.where)} for each in findings()],
    }
    return TemplateResponse(request, "admin/routing/lint.html", context)


def _link(where: Where) -> str:
    page = _PAGES.get(where.table)
    return reverse(page, args=[where.id]) if page else ""
