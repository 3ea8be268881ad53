"""The admin's page of what is not well about the configuration."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

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
from routing.lint_page import MOST, page_of

_MAX_DIGITS = 18

_PAGES = {
    table: f"admin:{model._meta.label_lower.replace('.', '_')}_change" for model, table in TABLES.items()
}


def may_lint(request: HttpRequest) -> bool:
    """Whether somebody may see all that the page tells of."""
    return may(request.user, Action.LINT)


@never_cache
@require_GET
def lint_page(request: HttpRequest) -> HttpResponse:
    """Findings of now, a page of them, each with its row and how to mend it; and how many of each kind."""
    if not may_lint(request):
        raise PermissionDenied
    check, severity = (request.GET.get(name, "") for name in ("check", "severity"))
    said = request.GET.get("skip", "")
    skip = int(said) if said.isascii() and said.isdigit() and len(said) <= _MAX_DIGITS else 0
    found = page_of(findings(), check, severity, skip)
    kinds = [
        (kind, _address(kind.check, kind.severity), (kind.check, kind.severity) == (check, severity))
        for kind in found.kinds
    ]
    before = max(skip - MOST, 0)
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Check the configuration",
        "kinds": kinds,
        "page": found,
        "all": "" if not (check or severity) else reverse("lint"),
        "first": skip + 1,
        "last": skip + len(found.findings),
        "before": "" if not skip else _address(check, severity, before),
        "after": "" if found.next is None else _address(check, severity, found.next),
        "findings": [{"said": each, "link": _link(each.where)} for each in found.findings],
    }
    return TemplateResponse(request, "admin/routing/lint.html", context)


def _address(check: str, severity: str, skip: int = 0) -> str:
    said = {"check": check, "severity": severity, "skip": skip}
    return "?" + urlencode({name: value for name, value in said.items() if value})


def _link(where: Where) -> str:
    page = _PAGES.get(where.table)
    return reverse(page, args=[where.id]) if page else ""
