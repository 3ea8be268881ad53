"""What lists of the admin have in common: which filters an address may ask for, and whose rows they show."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import get_fields_from_path
from django.contrib.admin.views.main import ORDER_VAR
from django.core.paginator import Paginator
from django.db.models import DateField, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from unfold.admin import ModelAdmin
from unfold.views import ChangeList  # type: ignore[import-untyped]  # it has no types

from accounts.row_ids import is_id
from accounts.scope import seen_by, teams_of

# What filters of the admin make their links of.
_VALUES = ("", "__exact", "__id__exact", "__isnull", "__isempty")
_TIMES = ("", "__exact", "__gte", "__gt", "__lte", "__lt")
_PARTS = ("__year", "__month", "__day")
# More than any name has. Each word is a condition on each column, and a database takes so many and no more.
_SEARCHED = 200
# Nobody turns more pages; whoever looks for something older filters.
_MOST_COUNTED = 5_000


class CappedPaginator(Paginator):
    """Counts up to a bound, so that no page costs a count of all."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:_MOST_COUNTED].count())


class OfferedOrder(ChangeList):  # type: ignore[misc]  # the theme has no types
    """A list by the columns that the page offers to sort by. Django's hides the others' arrows, and sorts by
    them for an address that asks: of a large table all of it."""

    def get_ordering_field(self, field_name: Any) -> Any:
        """None: no order is offered by it."""
        return super().get_ordering_field(field_name) if field_name in self.sortable_by else None

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """An address that asks for no order that is offered is as if it did not ask."""
        said = str(self.params.get(ORDER_VAR, "")).split(".")
        if not any(map(self._is_offered, said)):
            self.params.pop(ORDER_VAR, None)
        return super().get_ordering(request, queryset)

    def _is_offered(self, said: str) -> bool:
        place = said.removeprefix("-")
        return (
            is_id(place)
            and int(place) < len(self.list_display)
            and (self.list_display[int(place)] in self.sortable_by)
        )


class BoundedLookups(ModelAdmin):
    """An address filters by what the page has as filters, and by nothing else; a search has a length.

    Django lets any lookup of a column through. `__regex` runs in Python on SQLite, for hours where somebody
    wants that, while the whole process stands still; `__startswith` tells a letter at a time what no page
    shows.
    """

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return OfferedOrder

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return self._offered(lookup, value, request) and super().lookup_allowed(lookup, value, request)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return super().get_search_results(request, queryset, search_term[:_SEARCHED])

    def _offered(self, lookup: str, value: str, request: HttpRequest) -> bool:
        dates = {self.date_hierarchy} if self.date_hierarchy else set()
        if any(lookup == f"{path}{part}" for path in dates for part in _PARTS):
            return _is_part_of_date(value)
        for item in self.get_list_filter(request):
            if isinstance(item, type):
                typed = [name for name, *_ in getattr(item, "inputs", ())]
                if lookup in (typed or [getattr(item, "parameter_name", None)]):
                    return True
                continue
            path = str(item[0] if isinstance(item, (tuple, list)) else item)
            if isinstance(get_fields_from_path(self.model, path)[-1], DateField):
                dates.add(path)
            elif any(lookup == f"{path}{way}" for way in _VALUES):
                return True
        if any(lookup == f"{path}__isnull" for path in dates):
            return True
        return any(lookup == f"{path}{way}" for path in dates for way in _TIMES) and _is_moment(value)


class TeamScoped(ModelAdmin):
    """Everybody sees his teams' rows, and learns it where he has none. `team_column` has a team's id."""

    team_column = "team_id"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return seen_by(request.user, super().get_queryset(request), self.team_column)

    def tell_of_no_team(self, request: HttpRequest) -> None:
        if teams_of(request.user) == frozenset():
            words = "You belong to no team, so you see nothing here. Whoever manages users can change that."
            self.message_user(request, words, messages.WARNING)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        self.tell_of_no_team(request)
        return super().changelist_view(request, extra_context)


def _is_part_of_date(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4 and int(text) < 9999


def _is_moment(text: str) -> bool:
    """One that stays one in another time zone, too."""
    try:
        return 1 < datetime.fromisoformat(str(text)).year < 9999
    except ValueError:
        return False
