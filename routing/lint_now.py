"""Looks over the configuration as the tables have it, and tells whoever has just saved a part of it."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import Model
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import ApiKey, Budget, Limit, Team
from providers.apps import vault
from providers.models import Provider
from routing.apps import own_addresses
from routing.findings import Finding, Table
from routing.lint import lint
from routing.loader import build_snapshot
from routing.models import Route

# Whose rows findings are about. What a catalogue row does to routes is told on their pages.
TABLES: dict[type[Model], Table] = {
    Route: "route",
    Provider: "provider",
    ApiKey: "key",
    Team: "team",
    Limit: "limit",
    Budget: "budget",
}
# More would hide the form.
_MOST = 4


def findings() -> list[Finding]:
    """All findings of now, the worst first. Blocks. Raises DatabaseError."""
    return lint(build_snapshot(vault()), timezone.now(), own_addresses())


def tell(request: HttpRequest, row: Model) -> None:
    """Say what is not well about a row that has just been saved."""
    table = TABLES.get(type(row))
    if table is None:
        return
    found = [each for each in findings() if each.severity != "info" and each.concerns(table, row.pk)]
    for each in found[:_MOST]:
        about = "" if each.where.table == table and each.where.id == row.pk else f"{each.where.name}: "
        messages.warning(request, f"{about}{each.words} {each.mend}")
    if len(found) > _MOST:
        messages.warning(request, f"{len(found) - _MOST} more are under Check the configuration.")
