"""What the list of translation losses is filtered by: of each column the values that lost most of late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet, Sum
from django.http import HttpRequest

from routing.models import TranslationLoss

# As many as one reads. Another one is named in the address, or searched for.
_CHOICES = 50
_CHOICE_DAYS = 7


class _Lost(admin.SimpleListFilter):
    """One column has one value. Not all that there were are offered: that would be the whole table read for
    each column, and as many links as there are routes."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        name = self.parameter_name or ""
        since = datetime.now(UTC).date() - timedelta(days=_CHOICE_DAYS)
        recent = TranslationLoss.objects.filter(day__gte=since).order_by()
        most = recent.values(name).annotate(total=Sum("count")).order_by("-total", name)[:_CHOICES]
        found = {str(row[name]) for row in most if row[name]}
        chosen = self.value()
        return [(each, each) for each in sorted(found | ({chosen} if chosen else set()))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        return queryset.filter(**{self.parameter_name or "": chosen}) if chosen else queryset


def _of(column: str) -> type[_Lost]:
    return type(f"Lost{column.title()}", (_Lost,), {"title": column, "parameter_name": column})


LOSS_FILTERS = tuple(map(_of, ("route", "provider", "surface", "model", "field")))
