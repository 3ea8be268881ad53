"""Proves that the ledger's parts say the same: rows, attempts, sums of days. Reads, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.db.models import BigIntegerField, Case, Count, F, Q, QuerySet, Sum, Value, When
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone

from accounts.ledger.folding import folded_days, without_keys
from accounts.ledger.rows import (
    AttemptEntry,
    LedgerCut,
    LedgerProcess,
    RequestEntry,
    UsageDay,
    UsageFold,
)
from accounts.ledger.sums import FOLDED, KEY, SUMS, Key, midnight, summed

# Longer than any call may last, and its process needs to be found dead.
OVERDUE = timedelta(hours=1)
# Of each kind of difference so many examples are told.
_EXAMPLES = 5
_NONE = [0] * len(SUMS)


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference: which check found it, and what differs, in words."""

    check: str
    words: str


def prove(since: date) -> Iterator[Finding]:
    """What differs in requests of days from `since` on. Each check is one pass within the database."""
    yield from _sums(since)
    yield from _folded(since)
    requests = RequestEntry.objects.filter(at__gte=midnight(since))
    yield from _charges(requests)
    yield from _attempts(requests)
    yield from _under_way(requests)


def _sums(since: date) -> Iterator[Finding]:
    """Sums of days against the rows, where none of these were deleted."""
    cuts = dict(LedgerCut.objects.values_list("team_id", "before"))
    since = max(since, cuts.pop(0, since))
    found = dict(summed(RequestEntry.objects.filter(at__gte=midnight(since))))
    kept = dict(_kept(since))
    for whose in sorted({*found, *kept}):
        day, team_id = whose[0], whose[1]
        if team_id in cuts and day < cuts[team_id]:
            continue
        pairs = zip(SUMS, found.get(whose, _NONE), kept.get(whose, _NONE), strict=True)
        told = [f"{name}: rows {rows}, sums {sums}" for name, rows, sums in pairs if rows != sums]
        if told:
            yield Finding("sums", f"{day} {whose[5]} {whose[6]} {whose[3]} {whose[4]}: {', '.join(told)}")


def _folded(since: date) -> Iterator[Finding]:
    """Sums without keys against those with keys, a day at a time."""
    for day in folded_days(since):
        rows = UsageFold.objects.filter(day=day).order_by().values(*FOLDED, *SUMS)
        folded = {_whose(row): [row[name] for name in SUMS] for row in rows}
        found = {_whose(row): [int(row[f"sum_{name}"]) for name in SUMS] for row in without_keys(day)}
        for whose in sorted({*found, *folded}):
            pairs = zip(SUMS, found.get(whose, _NONE), folded.get(whose, _NONE), strict=True)
            told = [
                f"{name}: sums {sums}, without keys {other}" for name, sums, other in pairs if sums != other
            ]
            if told:
                yield Finding("folded", f"{day} {whose[4]} {whose[2]} {whose[3]}: {', '.join(told)}")


def _whose(row: Mapping[str, Any]) -> Key:
    return tuple(row[name] for name in FOLDED)


def _kept(since: date) -> Iterator[tuple[Key, list[int]]]:
    for row in UsageDay.objects.filter(day__gte=since).order_by().values_list(*KEY, *SUMS).iterator():
        amounts = list(row[len(KEY) :])
        # Taken back to nothing, when an orphan's key or model turned out to be another.
        if any(amounts):
            yield row[: len(KEY)], amounts


def _charges(requests: QuerySet[RequestEntry]) -> Iterator[Finding]:
    """Each cost again, of its tokens and prices."""

    def part(tokens: Any, rate: str) -> Any:
        return Case(
            When(Q(**{f"{rate}__isnull": True}), then=Value(0)),
            default=tokens * F(rate),
            output_field=BigIntegerField(),
        )

    plain = Greatest(F("input_tokens") - F("cache_read") - F("cache_write"), Value(0))
    pico = (
        part(plain, "rate_input")
        + part(F("cache_read"), "rate_cache_read")
        + part(F("cache_write"), "rate_cache_write")
        + part(F("output_tokens"), "rate_output")
    )
    priced = requests.filter(state__in=("settled", "estimated"), cost__isnull=False).exclude(provider="")
    # What is clamped is wrong by intent, and its product is more than a number of the database holds.
    sound = priced.exclude(flags__contains="clamped").filter(input_tokens__lt=10**9, output_tokens__lt=10**9)
    wrong = sound.annotate(again=(pico + 500) / 1000).exclude(cost=F("again"))
    yield from _told(wrong, "charges", "its cost is not what its tokens come to")
    guessed = requests.filter(state="orphaned")
    same = Q(input_tokens=F("reserved_input")) & Q(output_tokens=F("reserved_output"))
    paid = Q(cost=F("reserved_cost")) | (Q(cost__isnull=True) & Q(reserved_cost__isnull=True))
    yield from _told(guessed.exclude(same & paid), "charges", "an orphan is not charged as it was reserved")


def _attempts(requests: QuerySet[RequestEntry]) -> Iterator[Finding]:
    """Rows against attempts."""
    counted = requests.filter(state__in=("settled", "estimated", "released")).annotate(
        have=Count("attempts"), open=Count("attempts", Q(attempts__state__in=("reserved", "orphaned")))
    )
    yield from _told(counted.exclude(have=F("tries")), "attempts", "not as many attempts as it says")
    yield from _told(counted.filter(open__gt=0), "attempts", "has ended, and an attempt of it has not")
    used = Q(input_tokens__gt=0) | Q(output_tokens__gt=0)
    idle = requests.filter(used, state__in=("settled", "estimated"), cache__in=("", "miss", "bypass"))
    idle = idle.annotate(paid=Count("attempts", Q(attempts__state__in=("settled", "estimated"))))
    yield from _told(idle.filter(paid=0), "attempts", "is charged, and none of its attempts is")
    released = requests.filter(state="released").filter(used | Q(cost__gt=0))
    yield from _told(released, "attempts", "was released, and is charged")
    lost = AttemptEntry.objects.filter(request__isnull=True).count()
    if lost:
        yield Finding("attempts", f"{lost} attempts have no request")


def _under_way(requests: QuerySet[RequestEntry]) -> Iterator[Finding]:
    """Reservations that nobody will end."""
    known = list(LedgerProcess.objects.values_list("name", flat=True))
    reserved = requests.filter(state="reserved")
    yield from _told(reserved.exclude(process__in=known), "open", "is reserved by a process that is gone")
    late = reserved.filter(at__lt=timezone.now() - OVERDUE)
    yield from _told(late, "open", "has been reserved for longer than any call lasts")


def duplicates() -> Iterator[Finding]:
    """Requests or attempts that are there twice, should the database have let that happen."""
    twice = (
        RequestEntry.objects.order_by().values("request_id").annotate(times=Count("id")).filter(times__gt=1)
    )
    for row in twice[:_EXAMPLES]:
        yield Finding("duplicates", f"{row['request_id']} is there {row['times']} times")


def open_reservations(budget_unit: str, **whose: int) -> int:
    """What requests under way have reserved: nano-dollars or tokens."""
    rows = RequestEntry.objects.filter(state="reserved", **whose)
    each = F("reserved_cost") if budget_unit == "usd" else F("reserved_input") + F("reserved_output")
    return int(rows.aggregate(all=Coalesce(Sum(each), 0))["all"])


def _told(rows: QuerySet[RequestEntry], check: str, words: str) -> Iterator[Finding]:
    names = list(rows.order_by().values_list("request_id", flat=True)[: _EXAMPLES + 1])
    for name in names[:_EXAMPLES]:
        yield Finding(check, f"{name}: {words}")
    if len(names) > _EXAMPLES:
        yield Finding(check, f"and more: {words}")
