"""What a key may use, as the call's path sees it: limits in windows of time, and budgets for periods."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

LimitKind = Literal["requests", "tokens", "concurrency"]
Unit = Literal["usd", "tokens"]
Period = Literal["day", "week", "month", "total"]
Scope = Literal["key", "team", "everybody"]

# Seconds of a window. A month of seconds is no use for a limit: that is what budgets are for.
WINDOWS = {"minute": 60, "hour": 3600, "day": 86400}
# Budgets in money are whole billionths of a dollar, which no price rounds away.
NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `amount` in any `span` seconds, or (concurrency, `span` 0) at once.

    An `amount` of 0 stands for a row that cannot be understood: it lets nothing through. `model`: exact or
    `prefix*`, "" any. `team_id`, `key_id`: whose it is; both None: everybody's together. `wait_seconds`: how
    long a call may wait for a place (concurrency); 0: it is refused at once.
    """

    id: int
    kind: LimitKind
    amount: int
    span: int = 60
    model: str = ""
    team_id: int | None = None
    key_id: int | None = None
    wait_seconds: float = 0.0

    @property
    def scope(self) -> Scope:
        return _scope(self.team_id, self.key_id)

    def covers(self, model: str) -> bool:
        """Whether a call of this model counts."""
        own = self.model
        return not own or (model.startswith(own[:-1]) if own.endswith("*") else model == own)

    def is_for(self, team_id: int, key_id: int) -> bool:
        """Whether a call of this team's key counts."""
        return self.team_id in (None, team_id) and self.key_id in (None, key_id)


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `amount` in each `period` in UTC: nano-dollars, or tokens.

    A soft one (`hard` False) refuses nothing. An `amount` of 0 stands for a row that cannot be understood: it
    lets nothing through. `owner`: the team's name or the key's prefix, "" for
    everybody.
    """

    id: int
    unit: Unit
    amount: int
    period: Period = "month"
    hard: bool = True
    webhook_url: str = ""
    owner: str = ""
    team_id: int | None = None
    key_id: int | None = None

    @property
    def scope(self) -> Scope:
        return _scope(self.team_id, self.key_id)


def _scope(team_id: int | None, key_id: int | None) -> Scope:
    if key_id is not None:
        return "key"
    return "everybody" if team_id is None else "team"


def period_start(period: Period, now: datetime) -> datetime:
    """When the period that `now` lies in began, in UTC. A total began with the epoch."""
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "week":
        return day - timedelta(days=day.weekday())
    if period == "month":
        return day.replace(day=1)
    return day if period == "day" else datetime.fromtimestamp(0, UTC)


def period_end(period: Period, now: datetime) -> datetime | None:
    """When it ends; None: never."""
    start = period_start(period, now)
    if period == "week":
        return start + timedelta(days=7)
    if period == "month":
        return (start + timedelta(days=32)).replace(day=1)
    return start + timedelta(days=1) if period == "day" else None
