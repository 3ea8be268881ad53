"""Redis's counters of budgets against the ledger: calls under way may be on either side, the rest is told."""

from __future__ import annotations

import time
from typing import Any

import pytest
from redis import Redis

from accounts.ledger.table import write
from accounts.tests.ledger_lines import ending, opening
from gateway_project import ledger_counters
from pipeline.redis_store import PREFIX
from pipeline.reservation import counters
from routing.allowances import Budget
from routing.snapshot import ApiKey, Snapshot, Team

pytestmark = [pytest.mark.valkey, pytest.mark.usefixtures("sqlite")]
SPENT, RESERVED = 2 * 72_500, 41_000_000


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs is looked at several times, with pauses."""
    monkeypatch.setattr(ledger_counters, "_PAUSE", 0.01)


@pytest.mark.parametrize(
    ("counted", "differs"),
    [
        (None, False),
        (SPENT, False),
        (SPENT + RESERVED, False),
        (SPENT - 1, True),
        (SPENT + RESERVED + 1, True),
        (0, True),
    ],
    ids=["not begun", "spent", "and reserved", "too little", "too much", "nothing"],
)
@pytest.mark.parametrize("scope", ["key", "team", "everybody"])
def test_a_counter_lies_between_what_is_spent_and_what_may_be(
    redis_url: str, counted: int | None, differs: bool, scope: str
) -> None:
    now = time.time()
    write([ending("a", at=now), ending("b", at=now), opening("c", at=now)], "p1")
    write([ending("old", at=now - 100 * 86_400), ending("free", at=now, cost=None)], "p1")
    owner: dict[str, Any] = {"key": {"key_id": 9}, "team": {"team_id": 7}, "everybody": {}}[scope]
    budget = Budget(id=5, unit="usd", amount=10**12, period="month", **owner)
    key = ApiKey(id=9, prefix="gw-abc", digest=b"", team=Team(7, "crew"), budgets=(budget,))
    (began,) = counters(key, now)
    with Redis.from_url(redis_url) as client:
        client.flushdb()
        if counted is not None:
            client.set(PREFIX + began.key, counted)
        found = list(ledger_counters.compare(Snapshot(1, keys={b"": key}), redis_url))
        client.flushdb()
    assert [finding.check for finding in found] == ["budgets"] * differs
    if differs:
        assert f"counted {counted}, by the ledger {SPENT} to {SPENT + RESERVED}" in found[0].words
