"""Limits, budgets and priorities in the configuration document."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from accounts.apps import hasher
from accounts.models import ApiKey, Budget, Limit, Team
from providers.apps import vault
from routing.configfile import ConfigError, load_yaml, parse
from routing.configfile_apply import Means, Outcome, apply
from routing.configfile_export import export, to_yaml
from tests.support.rows import make_key, make_provider

pytestmark = pytest.mark.django_db

CHOSEN = "a-key-that-somebody-chose-1234"
DOCUMENT = """
limits: [{kind: requests, amount: 10000}]
budgets: [{amount: 5000.5, period: total, hard: false, webhook_url: "https://hooks.example/x"}]
teams:
  - name: crew
    priority: high
    limits:
      - {kind: requests, amount: 100}
      - {kind: tokens, amount: 50000, per: day, model: "gpt-*"}
      - {kind: concurrency, amount: 8, provider: openai}
    budgets: [{amount: 20}]
keys:
  - team: crew
    value: "env:KEY"
    priority: low
    limits: [{kind: requests, amount: 5, enabled: false}]
    budgets: [{unit: tokens, amount: 1000000, period: day}]
"""


def bring(text: str) -> Outcome:
    document = parse(load_yaml(text))
    means = Means(vault=vault(), hasher=hasher(), environ={"KEY": CHOSEN})
    return apply(document, means, author="test", reason="test")


def limits(**owner: Any) -> set[tuple[Any, ...]]:
    rows = Limit.objects.filter(**owner)
    return {(r.kind, r.amount, r.per, r.model, r.provider, r.enabled) for r in rows}


def test_a_document_says_what_may_be_used() -> None:
    make_provider("openai")
    outcome = bring(DOCUMENT)
    assert outcome.revision is not None
    crew, key = Team.objects.get(), ApiKey.objects.get()
    assert (crew.priority, key.priority) == ("high", "low")
    assert limits(team=None, key=None) == {("requests", 10000, "minute", "", "", True)}
    assert limits(team=crew) == {
        ("requests", 100, "minute", "", "", True),
        ("tokens", 50000, "day", "gpt-*", "", True),
        ("concurrency", 8, "", "", "openai", True),
    }
    assert limits(key=key) == {("requests", 5, "minute", "", "", False)}
    common = Budget.objects.get(team=None, key=None)
    assert (common.unit, common.amount, common.period, common.hard, common.webhook_url) == (
        "usd",
        Decimal("5000.5"),
        "total",
        False,
        "https://hooks.example/x",
    )
    own = Budget.objects.get(team=crew)
    assert (own.amount, own.hard) == (Decimal(20), True)
    assert any("limit 100 requests per minute of team crew" in str(change) for change in outcome.changes)


def test_applying_twice_is_once_and_what_is_exported_says_the_same() -> None:
    make_provider("openai")
    bring(DOCUMENT)
    before = sorted(Limit.objects.values_list("id", flat=True))
    assert bring(DOCUMENT).changes == []
    text = to_yaml(export())
    assert bring(text).changes == []
    exported = export()
    Limit.objects.all().delete()
    Budget.objects.all().delete()
    Team.objects.update(priority="normal")
    bring(text)
    assert export() == exported
    assert before


def test_a_list_stands_for_all_rows_of_its_owner_and_no_list_for_none() -> None:
    make_provider("openai")
    bring(DOCUMENT)
    kept = Limit.objects.get(kind="requests", team__name="crew")
    bring("teams: [{name: crew}]")
    assert Limit.objects.filter(team__name="crew").count() == 3
    outcome = bring("teams: [{name: crew, limits: [{kind: requests, amount: 7}], budgets: []}]")
    assert len([change for change in outcome.changes if change["action"] == "removed"]) == 3
    (row,) = Limit.objects.filter(team__name="crew")
    # It keeps its number, and with it what has been counted.
    assert (row.pk, row.amount) == (kept.pk, 7)
    assert Budget.objects.filter(team__name="crew").count() == 0
    assert Limit.objects.filter(team=None, key=None).count() == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("limits: [{kind: requests, amount: 0}]", "limits[0].amount"),
        ("limits: [{kind: requests, amount: -5}]", "limits[0].amount"),
        ("limits: [{kind: calls, amount: 5}]", "limits[0].kind"),
        ("limits: [{kind: requests, amount: 5, per: week}]", "limits[0].per"),
        ("limits: [{kind: requests, amount: 5, model: 'a*b'}]", "limits[0].model"),
        ("limits: [{kind: requests, amount: 5, provider: nobody}]", "no provider is named 'nobody'"),
        ("budgets: [{amount: 0}]", "budgets[0].amount"),
        ("budgets: [{amount: 1.5, unit: tokens}]", "budgets[0].amount: Tokens are whole"),
        ("budgets: [{amount: 99000000}]", "budgets[0].amount"),
        ("budgets: [{amount: 5, period: year}]", "budgets[0].period"),
        ("budgets: [{amount: 5, webhook_url: 'ftp://x.example/'}]", "budgets[0].webhook_url"),
        ("budgets: [{amount: .inf}]", "budgets[0].amount"),
        ("teams: [{name: a, priority: highest}]", "teams[0].priority"),
        ("teams: [{name: a, limits: [{kind: tokens, amount: 0}]}]", "teams[0].limits[0].amount"),
    ],
)
def test_a_mistake_is_named_by_its_place(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bring(text)
    assert problem in str(caught.value)
    assert not Limit.objects.exists()
    assert not Budget.objects.exists()


def test_one_limit_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="There is such a limit for everybody"):
        bring("limits: [{kind: requests, amount: 5}, {kind: requests, amount: 6}]")


def test_the_number_of_queries_does_not_grow_with_the_keys(
    django_assert_max_num_queries: Any,
) -> None:
    for number in range(20):
        key = make_key(f"team{number}").row
        Limit.objects.create(key=key, kind="requests", amount=5)
    with django_assert_max_num_queries(12):
        assert len(export()["keys"]) == 20


def test_a_limit_that_lets_calls_wait_is_brought_and_exported() -> None:
    bring("limits: [{kind: concurrency, amount: 5, wait_seconds: 2.5}]")
    assert Limit.objects.get().wait_seconds == 2.5
    assert export()["limits"] == [{"kind": "concurrency", "amount": 5, "wait_seconds": 2.5}]
    bring("limits: [{kind: concurrency, amount: 5}]")
    assert Limit.objects.get().wait_seconds == 0


@pytest.mark.parametrize(
    "row",
    [
        "{kind: requests, amount: 5, wait_seconds: 1}",
        "{kind: concurrency, amount: 5, provider: openai, wait_seconds: 1}",
        "{kind: concurrency, amount: 5, wait_seconds: -1}",
        "{kind: concurrency, amount: 5, wait_seconds: 601}",
        "{kind: concurrency, amount: 5, wait_seconds: .nan}",
    ],
)
def test_calls_wait_only_for_a_place_and_not_for_ever(row: str) -> None:
    make_provider("openai")
    with pytest.raises(ConfigError) as raised:
        bring(f"limits: [{row}]")
    assert "limits[0]" in str(raised.value)
    assert not Limit.objects.exists()
