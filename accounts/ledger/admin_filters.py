"""What the ledger's lists are filtered by. Choices come from the sums of days, of teams that one may see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet, Sum
from django.http import HttpRequest

from accounts.ledger.rows import STATES, UsageDay
from accounts.row_ids import is_id
from accounts.scope import seen_by
from dialects.codes import OWN_CODES

# Choices of a filter: those used most, of the last week.
_CHOICES = 50
_CHOICE_DAYS = 7
_OUTCOMES = (("ok", "ok"), ("error", "error"), ("client_gone", "client left"))
_STATUSES = (200, 400, 401, 403, 404, 413, 422, 429, 499, 500, 502, 503, 504, 529)


class _Chosen(admin.SimpleListFilter):
    """One column has one value. `names`: the column's, and that of what is shown for it."""

    column = ""
    shown = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        names = dict.fromkeys((self.column, self.shown))
        since = datetime.now(UTC).date() - timedelta(days=_CHOICE_DAYS)
        recent = seen_by(request.user, UsageDay.objects.filter(day__gte=since))
        most = recent.order_by().values(*names).annotate(total=Sum("requests")).order_by("-total")
        found = {str(row[self.column]): str(row[self.shown]) for row in most[:_CHOICES] if row[self.shown]}
        chosen = self.value()
        if chosen and chosen not in found:
            found[chosen] = chosen
        return sorted(found.items(), key=lambda pair: pair[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        if not chosen:
            return queryset
        if self.column.endswith("_id"):
            if not is_id(chosen):
                return queryset.none()
            return queryset.filter(**{self.column: int(chosen)})
        return queryset.filter(**{self.column: chosen})


class TeamFilter(_Chosen):
    """By team, with the name that it had."""

    title, parameter_name, column, shown = "team", "team", "team_id", "team"


class KeyFilter(_Chosen):
    """By key."""

    title, parameter_name, column, shown = "key", "key", "key_id", "key"


class ModelFilter(_Chosen):
    """By model as it was asked for."""

    title, parameter_name, column, shown = "model", "model", "model", "model"


class ProviderFilter(_Chosen):
    """By the provider that was asked last."""

    title, parameter_name, column, shown = "provider", "provider", "provider", "provider"


class _Word(admin.SimpleListFilter):
    """One of a few values that are known beforehand."""

    column = ""
    words: Iterable[tuple[Any, str]] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return list(self.words)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        known = {str(word) for word, _ in self.words}
        return queryset.filter(**{self.column: chosen}) if chosen in known else queryset


class StateFilter(_Word):
    """By how it is charged."""

    title, parameter_name, column = "state", "state", "state"
    words = tuple((word, word) for word, _ in STATES)


class OutcomeFilter(_Word):
    """By how it ended for the client."""

    title, parameter_name, column, words = "outcome", "outcome", "outcome", _OUTCOMES


class StatusFilter(_Word):
    """By HTTP status."""

    title, parameter_name, column = "status", "status", "status"
    words = tuple((status, str(status)) for status in _STATUSES)


class DayFilter(admin.SimpleListFilter):
    """By day (UTC): of the last ones, or any as `?day=2030-01-31`."""

    title, parameter_name = "day", "day"
    column = "at"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        spans = [("today", "today"), ("yesterday", "yesterday"), ("7", "last 7 days"), ("31", "last 31 days")]
        chosen = self.value()
        known = not chosen or chosen in dict(spans)
        return spans if known else [*spans, (str(chosen), str(chosen))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        span = self._span(self.value(), datetime.now(UTC).date())
        if span is None:
            return queryset
        first, last = span
        if self.column == "day":
            return queryset.filter(day__gte=first, day__lte=last)
        begin = datetime.combine(first, time(), UTC)
        end = datetime.combine(last + timedelta(days=1), time(), UTC)
        return queryset.filter(at__gte=begin, at__lt=end)

    def _span(self, chosen: str | None, today: date) -> tuple[date, date] | None:
        if chosen in ("7", "31"):
            return today - timedelta(days=int(chosen) - 1), today
        if chosen in ("today", "yesterday"):
            day = today - timedelta(days=int(chosen == "yesterday"))
            return day, day
        try:
            day = date.fromisoformat(chosen or "")
            _ = day + timedelta(days=1)
        except (ValueError, OverflowError):
            return None
        return day, day


class SumDayFilter(DayFilter):
    """The same of sums."""

    column = "day"


class Typed(admin.ListFilter):
    """Values that somebody types in, in a form of its own. `inputs`: parameter, label and kind of each."""

    template = "admin/accounts/requestentry/typed.html"
    inputs: tuple[tuple[str, str, str], ...] = ()
    suggested: Iterable[str] = ()

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: type[Any], model_admin: Any
    ) -> None:
        super().__init__(request, params, model, model_admin)
        for name, _, _ in self.inputs:
            said = params.pop(name, None)
            text = said[-1] if isinstance(said, list) else said
            if text:
                self.used_parameters[name] = text

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return [name for name, _, _ in self.inputs]

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        """One, which is the form."""
        yield {
            "inputs": [
                {"name": name, "label": label, "kind": kind, "value": self.used_parameters.get(name, "")}
                for name, label, kind in self.inputs
            ],
            "others": [
                (name, value)
                for name, value in changelist.get_filters_params().items()
                if name not in self.expected_parameters()
                for value in (value if isinstance(value, list) else [value])
            ],
            "query": changelist.query,
            "suggested": self.suggested,
        }


class SpanFilter(Typed):
    """By moments (UTC), from the first until before the second. What is no moment filters nothing."""

    title = "time (UTC)"
    inputs = (("from", "From", "datetime-local"), ("until", "Until", "datetime-local"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        for name, lookup in (("from", "at__gte"), ("until", "at__lt")):
            moment = _moment(self.used_parameters.get(name, ""))
            if moment is not None:
                queryset = queryset.filter(**{lookup: moment})
        return queryset


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


class CodeFilter(Typed):
    """By the code of an error: the gateway's own, or a provider's word."""

    title = "error code"
    inputs = (("code", "Code", "text"),)
    suggested = sorted(OWN_CODES)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        code = str(self.used_parameters.get("code", "")).strip()
        # PostgreSQL has no word for a zero byte.
        return queryset.filter(code=code.replace("\0", "?")) if code else queryset
