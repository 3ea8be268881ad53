"""Compares what Redis counts of budgets with what the ledger says is spent of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from redis import Redis, RedisCluster

from accounts.ledger.proof import Finding, open_reservations
from accounts.ledger.sums import spent
from pipeline.redis_client import connect_blocking
from pipeline.redis_store import PREFIX
from pipeline.reservation import Began, counters
from routing.allowances import Budget
from routing.snapshot import Snapshot

# While calls come and go the two are never read at the same moment; what is off each time is off.
_LOOKS = 4
_PAUSE = 1.0
_SECONDS = 5.0


class _Counted(NamedTuple):
    """What each side says: at least `least` and at most `most` by the ledger, `counted` by Redis."""

    least: int
    most: int
    counted: int

    @property
    def fits(self) -> bool:
        return self.least <= self.counted <= self.most


def compare(snapshot: Snapshot, url: str) -> Iterator[Finding]:
    """Counters that are less than what is spent, or more than that and all that is reserved. Raises
    redis_client.FAULTS."""
    with connect_blocking(url, _SECONDS) as client:
        now = int(client.time()[0])
        began = {each.key: each for key in snapshot.keys.values() for each in counters(key, now)}
        off: dict[str, _Counted] = {}
        for look in range(_LOOKS):
            off = _off(client, began if not look else {key: began[key] for key in off})
            if not off:
                return
            if look < _LOOKS - 1:
                time.sleep(_PAUSE)
    for key, each in off.items():
        words = f"counted {each.counted}, by the ledger {each.least} to {each.most}"
        yield Finding("budgets", f"budget {began[key].budget.id}: {words}")


def _off(client: Redis | RedisCluster, began: Mapping[str, Began]) -> dict[str, _Counted]:
    found: dict[str, _Counted] = {}
    for key, each in began.items():
        budget = each.budget
        whose = _whose(budget)
        reserved = open_reservations(budget.unit, **whose)
        # Between two readings of the ledger, so that what ends meanwhile is on one side or the other.
        before = spent(budget.unit, each.start.date(), **whose)
        counted = client.get(PREFIX + key)
        after = spent(budget.unit, each.start.date(), **whose)
        if counted is None:
            # It begins with the next call, at what the ledger says.
            continue
        looked = _Counted(min(before, after), max(before, after) + reserved, int(counted))
        if not looked.fits:
            found[key] = looked
    return found


def _whose(budget: Budget) -> dict[str, int]:
    if budget.key_id is not None:
        return {"key_id": budget.key_id}
    return {} if budget.team_id is None else {"team_id": budget.team_id}
