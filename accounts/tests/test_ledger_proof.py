"""The proof finds each fault that is planted, and none where there is none; deletion leaves the sums."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import transaction
from django.db.models import F

from accounts.ledger import keep, proof
from accounts.ledger.rows import AttemptEntry, LedgerCut, LedgerProcess, RequestEntry, UsageDay
from accounts.ledger.sums import spent
from accounts.ledger.table import write
from accounts.ledger.watch import Census, orphan
from accounts.tests.ledger_lines import AT, ending, opening

pytestmark = pytest.mark.usefixtures("database")
EVER = date(1970, 1, 1)
NOW = datetime.now(UTC).timestamp()


@pytest.fixture
def ledger(database: None) -> None:
    """One request in each state, of several days, keys and models."""
    Census("alive").beat()
    write(
        [
            opening("under way", at=NOW),
            ending("settled", attempts=2),
            ending("another day", at=(AT - timedelta(days=3)).timestamp(), model="gpt-5"),
            ending("estimated", state="estimated", usage_source="estimated", cache_read=0, cost=75_000),
            ending("unpriced", cost=None, rate_input=None, rate_output=None, key_id=10, key="gw-def"),
            ending(
                "released", state="released", usage_source="", status=503, outcome="error", cost=0,
                input_tokens=0, output_tokens=0, cache_read=0, reasoning=0,
            ),
            ending("hit", attempts=0, cache="hit", saved=72_500, cost=0, provider="", rate_input=None),
            ending("huge", flags="clamped", cost=10**15, input_tokens=10**12),
            opening("lost", at=NOW),
        ],
        "alive",
    )  # fmt: skip
    RequestEntry.objects.filter(request_id="lost").update(process="dead")
    orphan("dead")


def found() -> set[str]:
    return {finding.check for finding in [*proof.prove(EVER), *proof.duplicates()]}


def update(name: str, **values: object) -> None:
    assert RequestEntry.objects.filter(request_id=name).update(**values) == 1


def of_attempts(name: str, **values: object) -> None:
    assert AttemptEntry.objects.filter(request__request_id=name).update(**values)


def twice() -> None:
    AttemptEntry.objects.create(
        request=RequestEntry.objects.get(request_id="settled"), number=3, state="settled", provider="x"
    )


def raise_a_sum() -> None:
    UsageDay.objects.filter(model="gpt-5").update(cost=F("cost") + 1)


PLANTED: dict[str, tuple[Callable[[], object], set[str]]] = {
    "a sum is too high": (raise_a_sum, {"sums"}),
    "a sum is missing": (lambda: UsageDay.objects.filter(model="gpt-5").delete(), {"sums"}),
    "a row is missing": (lambda: RequestEntry.objects.filter(request_id="settled").delete(), {"sums"}),
    "tokens were changed": (lambda: update("settled", output_tokens=6), {"sums", "charges"}),
    "a cost was changed": (lambda: update("estimated", cost=1), {"sums", "charges"}),
    "a price was changed": (lambda: update("settled", rate_output=9), {"charges"}),
    "a cost came from nowhere": (lambda: update("unpriced", cost=5), {"sums", "charges"}),
    "a released one is charged": (lambda: update("released", cost=5), {"sums", "attempts"}),
    "an orphan is charged else": (lambda: update("lost", cost=5), {"sums", "charges"}),
    "an attempt is missing": (lambda: AttemptEntry.objects.filter(number=2).delete(), {"attempts"}),
    "an attempt is too many": (twice, {"attempts"}),
    "an attempt has not ended": (lambda: of_attempts("estimated", state="reserved"), {"attempts"}),
    "no attempt is charged": (lambda: of_attempts("settled", state="released"), {"attempts"}),
    "nobody will end it": (lambda: LedgerProcess.objects.all().delete(), {"open"}),
    "it is under way for ever": (lambda: update("under way", at=AT - timedelta(days=1)), {"open"}),
}  # fmt: skip


@pytest.mark.usefixtures("ledger")
def test_nothing_differs_where_nothing_was_changed() -> None:
    assert [*proof.prove(EVER), *proof.duplicates()] == []


@pytest.mark.usefixtures("ledger")
def test_each_difference_is_found() -> None:
    seen = {}
    for name, (plant, _) in PLANTED.items():
        with transaction.atomic():
            plant()
            seen[name] = found()
            transaction.set_rollback(True)
    assert seen == {name: checks for name, (_, checks) in PLANTED.items()}
    assert found() == set()


@pytest.mark.usefixtures("ledger")
def test_many_differences_are_told_by_a_few_examples() -> None:
    write([ending(f"req_{number:02}") for number in range(20)], "alive")
    RequestEntry.objects.filter(request_id__startswith="req_").update(cost=1)
    told = [each.words for each in proof.prove(EVER) if each.check == "charges"]
    assert len(told) == 6
    assert told[-1].startswith("and more")


@pytest.mark.usefixtures("ledger")
def test_deleted_days_are_not_compared_and_their_sums_stay() -> None:
    before = spent("usd", EVER)
    assert keep.delete(AT.date()) == 1
    assert keep.delete(AT.date()) == 0
    assert not RequestEntry.objects.filter(request_id="another day").exists()
    assert not AttemptEntry.objects.filter(request__isnull=True).exists()
    assert spent("usd", EVER) == before
    assert found() == set()
    UsageDay.objects.filter(model="gpt-5").update(cost=0)
    assert found() == set()
    # A shorter time later on does not bring the comparison back.
    keep.cut(AT.date() - timedelta(days=10))
    assert LedgerCut.objects.get().before == AT.date()


@pytest.mark.usefixtures("ledger")
def test_a_team_is_forgotten_alone_and_its_sums_stay() -> None:
    write([ending("theirs", team_id=8, team="others", key_id=99, key="gw-xyz")], "alive")
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    before = spent("usd", EVER, team_id=7)
    assert keep.delete(tomorrow, 7) == 8
    assert set(RequestEntry.objects.values_list("request_id", flat=True)) == {"theirs", "under way"}
    assert spent("usd", EVER, team_id=7) == before
    assert found() == set()
    # What it does from now on is written all the same.
    assert write([ending("later", at=NOW)], "alive").ended == 1
    assert keep.delete_sums(7) > 0
    assert spent("usd", EVER, team_id=7) == 0
    assert spent("usd", EVER, team_id=8) == 72_500


def test_old_requests_are_deleted_a_batch_at_a_time() -> None:
    names = [f"req_{number}" for number in range(keep.BATCH + 5)]
    write([*(ending(name) for name in names), opening("under way")], "p1")
    assert keep.delete_some(AT.date()) == 0
    tomorrow = AT.date() + timedelta(days=1)
    assert [keep.delete_some(tomorrow) for _ in range(3)] == [keep.BATCH, 5, 0]
    # What is under way is not old enough, whatever its date says.
    assert RequestEntry.objects.get().request_id == "under way"
    assert AttemptEntry.objects.count() == 1
    assert UsageDay.objects.get().requests == len(names)
