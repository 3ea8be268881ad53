"""What somebody who watches live traffic is told: of every team, or of his own alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
from django.utils import timezone

from accounts.ledger.rows import RequestEntry
from accounts.models import Team
from accounts.rights import Action, may
from accounts.scope import seen_by, teams_of
from pipeline.pulse import BOUNDS, Flow, Row, added, share
from pipeline.pulse_desk import Beat
from routing.snapshot import Snapshot

# As many as fit a page.
MOST_ROWS = 60
HISTORY = timedelta(minutes=5)
# Of more the newest tell how it is, and reading all would take too long.
_MOST_HISTORY = 5000


@dataclass(frozen=True, slots=True)
class Seat:
    """Whose eyes: `teams` are names, None for every team."""

    teams: frozenset[str] | None

    def sees(self, team: str) -> bool:
        """What is nobody's team's is for who sees all."""
        return self.teams is None or team in self.teams


def seat_of(user: Any) -> Seat | None:
    """None: he may not watch. Blocks. Raises DatabaseError."""
    if not (user.is_authenticated and user.is_active and user.is_staff and may(user, Action.READ_REQUESTS)):
        return None
    teams = teams_of(user)
    if teams is None:
        return Seat(None)
    return Seat(frozenset(Team.objects.filter(pk__in=teams).values_list("name", flat=True)))


def told(beat: Beat, seat: Seat, snapshot: Snapshot | None) -> dict[str, Any]:
    """What is new, as the page takes it. How providers and lines are is for who sees every team."""
    flows = [flow for second in beat.seconds for flow in second.flows if seat.sees(flow.team)]
    rows = [row for second in beat.seconds for row in second.rows if seat.sees(row.team)]
    rows.sort(key=lambda row: row.at)
    shown = rows[-MOST_ROWS:]
    point = _point(added(flows, lambda _: "all").get("all"))
    said: dict[str, Any] = {
        "point": point,
        "requests": [msgspec.to_builtins(row) for row in shown],
        "more": point["ok"] + point["failed"] - len(shown),
        "alone": beat.alone,
    }
    if seat.teams is None:
        said |= _of_all(beat, flows, snapshot)
    return said


def _of_all(beat: Beat, flows: Sequence[Flow], snapshot: Snapshot | None) -> dict[str, Any]:
    nows = beat.processes.values()
    in_flight = _summed(now.in_flight for now in nows)
    by_provider = added(list(flows), lambda flow: flow.provider)
    known = snapshot.providers if snapshot is not None else {}
    names = sorted({*known, *in_flight, *filter(None, by_provider)})
    return {
        "processes": len(beat.processes),
        "draining": sum(now.draining for now in nows),
        "open": sum(now.open for now in nows),
        "providers": [
            {
                "name": name,
                "in_flight": in_flight.get(name, 0),
                "drained": known[name].drained if name in known else "",
                "enabled": name in known and known[name].enabled,
                **_point(by_provider.get(name)),
            }
            for name in names
        ],
        "waiting": sorted(_summed(now.waiting for now in nows).items()),
        "breakers": _breakers(beat),
    }


def _breakers(beat: Beat) -> list[dict[str, Any]]:
    """Of each target the longest that any process holds against it, and how many do."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for now in beat.processes.values():
        for provider, model, state, seconds in now.breakers:
            entry = found.setdefault(
                (provider, model),
                {"provider": provider, "model": model, "state": state, "seconds": 0.0, "processes": 0},
            )
            entry["processes"] += 1
            if seconds >= entry["seconds"]:
                entry |= {"seconds": seconds, "state": state}
    return [found[place] for place in sorted(found)]


def _point(flow: Flow | None) -> dict[str, Any]:
    """Counts of a moment, and latencies in milliseconds, None where there are none."""
    if flow is None:
        return {"ok": 0, "failed": 0, "p50": None, "p95": None, "first": None}
    return {
        "ok": flow.ok,
        "failed": flow.failed,
        "p50": _ms(share(flow.took, 0.5)),
        "p95": _ms(share(flow.took, 0.95)),
        "first": _ms(share(flow.first, 0.5)),
    }


def history(user: Any) -> dict[str, Any]:
    """The last minutes from the ledger, a point for each second, and the newest requests. Blocks."""
    now = timezone.now()
    ended = RequestEntry.objects.exclude(state="reserved").filter(at__gt=now - HISTORY)
    rows = list(seen_by(user, ended.order_by("-at", "-id"))[:_MOST_HISTORY])
    points: dict[int, Flow] = {}
    for row in rows:
        ago = int((now - row.at).total_seconds() - row.total_ms / 1000)
        flow = points.setdefault(max(0, ago), Flow("", ""))
        if row.outcome == "ok":
            flow.ok += 1
        else:
            flow.failed += 1
        flow.took[_slot(row.total_ms)] += 1
        if row.ttft_ms is not None:
            flow.first[_slot(row.ttft_ms)] += 1
    return {
        "points": [{"ago": ago, **_point(points[ago])} for ago in sorted(points, reverse=True)],
        "requests": [msgspec.to_builtins(_row(row)) for row in reversed(rows[:MOST_ROWS])],
    }


def _row(row: RequestEntry) -> Row:
    return Row(
        at=row.at.timestamp() + row.total_ms / 1000,
        request_id=row.request_id,
        surface=row.surface,
        team=row.team,
        key=row.key,
        model=row.model,
        route=row.route,
        provider=row.provider,
        status=row.status,
        code=row.code,
        ms=row.total_ms,
        first_ms=row.ttft_ms,
        tokens=row.input_tokens + row.output_tokens,
        cost=row.cost,
        cache=row.cache,
    )


def _slot(ms: int) -> int:
    return next((place for place, bound in enumerate(BOUNDS) if ms <= bound * 1000), len(BOUNDS))


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
