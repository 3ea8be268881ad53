"""Each fault of a configuration is found where it is, with a way to mend it, and nothing where none is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from dialects.types import ModelFacts
from providers.kinds import KINDS
from providers.wire import Timeouts
from routing.allowances import Budget, Limit
from routing.findings import Finding, overlap
from routing.lint import lint
from routing.plan import match
from routing.semantic import Semantic
from routing.snapshot import (
    ApiKey,
    BreakerSettings,
    CatalogueModel,
    Credential,
    Price,
    Provider,
    Route,
    Snapshot,
    Target,
    Team,
)

NOW = datetime(2030, 5, 17, tzinfo=UTC)
WORDS = frozenset({"tools", "vision", "sampling"})


def provider(name: str, number: int, kind: str = "openai", **changes: Any) -> Provider:
    secret = Credential(number, "", "", f"secret-{number}")
    made = Provider(number, name, KINDS[kind], f"https://{name}.example/v1", Timeouts(), (secret,))
    return replace(made, **changes)


ONE, TWO = provider("one", 1), provider("two", 2)


def target(number: int, at: Provider = ONE, model: str = "big", **changes: Any) -> Target:
    return replace(Target(number, at, model), **changes)


def model(name: str, window: int = 128_000, words: Iterable[str] = WORDS, price: Any = (1.0, 2.0)) -> Any:
    facts = ModelFacts(name, window, None, frozenset(words))
    return ("openai", name), CatalogueModel("openai", facts, Price(*price))


CATALOGUE = dict(
    [
        model("big"),
        model("small", 8_000),
        model("plain", words={"sampling"}),
        model("free", price=(0.0, 0.0)),
        model("unpriced", price=()),
    ]
)


def route(number: int, pattern: str, *targets: Target, **changes: Any) -> Route:
    return replace(Route(number, f"{pattern}#{number}", pattern, targets or (target(1),)), **changes)


def key(**changes: Any) -> ApiKey:
    return replace(ApiKey(id=5, prefix="gw-abc", digest=b"d", team=Team(3, "crew")), **changes)


def found(*routes: Route, own: Any = (), **changes: Any) -> list[Finding]:
    keys = changes.pop("key", key())
    providers = {each.provider.name: each.provider for made in routes for each in made.targets}
    snapshot = Snapshot(1, routes, {b"d": keys}, changes.pop("providers", providers), CATALOGUE)
    return lint(replace(snapshot, **changes), NOW, own)


def names(findings: list[Finding]) -> list[tuple[str, str, int]]:
    assert all(each.words and each.mend for each in findings)
    return [(each.check, each.where.table, each.where.id) for each in findings]


GOOD = route(1, "m-*", target(1), target(2, TWO, tier=1))


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert found(GOOD, key=key(budgets=(Budget(1, "usd", 5),), allowed_models=("m-1", "m-*"))) == []


def test_a_route_that_another_goes_before() -> None:
    lower, higher = route(1, "m-*"), route(2, "m-*", priority=4)
    assert names(found(lower, higher)) == [("unreachable-route", "route", 1)]
    # A team's own, a longer prefix and an exact name leave something for the others.
    assert names(found(route(1, "m-*"), route(2, "m-*", team_id=3), route(3, "m-1"), route(4, "m-1-*"))) == []


def test_a_teams_route_without_a_key_of_the_team() -> None:
    assert names(found(route(1, "m-*", team_id=99))) == [("route-without-callers", "route", 1)]


def test_a_route_that_nobody_answers() -> None:
    off = target(1, replace(ONE, enabled=False)), target(2, enabled=False)
    [each] = found(route(1, "m-*", *off))
    assert (each.check, each.severity) == ("nobody-answers", "error")
    assert "the provider one is disabled; the target is disabled" in each.words
    spare = target(1, after=frozenset({"outage"}))
    assert names(found(route(1, "m-*", spare))) == [("nobody-answers", "route", 1)]


def test_failover_that_has_nowhere_to_go() -> None:
    assert names(found(route(1, "m-*", target(1), late_fallback=True))) == [("no-fallback", "route", 1)]
    assert names(found(route(1, "m-*", target(1), target(2, TWO, enabled=False)))) == [
        ("no-fallback", "route", 1)
    ]
    assert found(route(1, "m-*", target(1))) == []


def test_a_fallback_at_the_same_account() -> None:
    # The same credential under another name is the same account; another credential is not.
    twin = replace(ONE, id=9, name="twin")
    other = replace(ONE, id=9, name="other", credentials=TWO.credentials)
    for at in (ONE, twin):
        [each] = found(route(1, "m-*", target(1), target(2, at, "free", tier=1)))
        assert each.check == "same-account"
        assert each.concerns("provider", at.id)
    assert found(route(1, "m-*", target(1), target(2, other, "free", tier=1))) == []
    # What takes over when the context is too short has nothing to do with the account.
    long = target(2, model="free", after=frozenset({"context_length"}))
    assert "same-account" not in [check for check, *_ in names(found(route(1, "m-*", target(1), long)))]


def test_a_fallback_that_holds_less() -> None:
    assert names(found(route(1, "m-*", target(1), target(2, TWO, "small", tier=1)))) == [
        ("smaller-context", "route", 1)
    ]
    assert found(route(1, "m-*", target(1, model="small"), target(2, TWO, tier=1))) == []
    no_longer = target(2, TWO, after=frozenset({"context_length"}))
    assert names(found(route(1, "m-*", target(1), no_longer))) == [("smaller-context", "route", 1)]


def test_a_fallback_that_can_do_less() -> None:
    [each] = found(route(1, "m-*", target(1), target(2, TWO, "plain", tier=1)))
    assert (each.check, each.severity) == ("fallback-lacks", "warning")
    assert "lacks tools and vision" in each.words
    assert found(route(1, "m-*", target(1, model="plain"), target(2, TWO, tier=1))) == []


def test_of_a_prefix_whose_models_are_not_known_nothing_is_guessed() -> None:
    as_asked = target(1, model="")
    assert found(route(1, "m-*", as_asked, target(2, TWO, "small", tier=1))) == []


def test_a_gateway_that_calls_itself() -> None:
    here = provider("here", 7, "openai_compatible", base_url="http://localhost:8080/v1")
    made = route(1, "m-*", target(1, here))
    assert names(found(made, own=[("127.0.0.1", 8080)])) == [("cycle", "provider", 7)]
    assert found(made, own=[("127.0.0.1", 9090), ("gateway.example", 443)]) == []
    public = provider("public", 7, "openai_compatible", base_url="https://gateway.example/v1")
    assert names(found(route(1, "m-*", target(1, public)), own=[("gateway.example", 443)])) == [
        ("cycle", "provider", 7)
    ]


def test_money_that_is_not_counted() -> None:
    made = route(1, "m-*", target(1, model="unpriced"))
    [each] = found(made, key=key(budgets=(Budget(4, "usd", 5),)))
    assert (each.check, each.severity) == ("unpriced-under-budget", "error")
    assert each.concerns("budget", 4)
    assert "one/unpriced" in each.words
    [soft] = found(made, key=key(budgets=(Budget(4, "usd", 5, hard=False),)))
    assert soft.severity == "warning"
    for fine in (
        key(budgets=(Budget(4, "tokens", 5),)),
        key(budgets=(Budget(4, "usd", 5),), allowed_models=("n-*",)),
    ):
        assert "unpriced-under-budget" not in [check for check, *_ in names(found(made, key=fine))]
    assert found(route(1, "m-*", target(1, model="free")), key=key(budgets=(Budget(4, "usd", 5),))) == []
    # A server whose prices nobody has entered, for whatever name clients use.
    vllm = provider("vllm", 6, "openai_compatible")
    assert names(found(route(1, "*", target(1, vllm, "")), key=key(budgets=(Budget(4, "usd", 5),)))) == [
        ("unpriced-under-budget", "route", 1)
    ]


def test_whose_money_is_not_counted() -> None:
    """Of a team's route only its team's, of everybody's route all: what keys may use is looked at."""
    crew, band = Team(3, "crew"), Team(4, "band")
    mine, theirs, bound, other = (Budget(n, "usd", 5, owner=f"b{n}") for n in range(1, 5))
    keys = [
        key(budgets=(mine,)),
        key(id=6, team=band, budgets=(theirs,)),
        key(id=7, team=band, budgets=(theirs, bound), allowed_models=("m-*",)),
        key(id=8, team=band, budgets=(other,), allowed_models=("n-1",)),
    ]
    unpriced = target(1, model="unpriced")
    routes = (
        route(1, "m-*", unpriced),
        route(2, "m-1", unpriced, team_id=crew.id),
        route(3, "n-*", unpriced, team_id=band.id),
        route(4, "m-2", unpriced, team_id=99),
    )
    said = found(*routes, keys={bytes([each.id]): each for each in keys})
    whose = {
        each.where.id: [(other.id, other.name) for other in each.others]
        for each in said
        if each.check == "unpriced-under-budget"
    }
    assert {number: sorted(rows) for number, rows in whose.items()} == {
        1: [(1, "b1"), (2, "b2"), (3, "b3")],
        2: [(1, "b1")],
        3: [(2, "b2"), (4, "b4")],
    }


@pytest.mark.parametrize(
    ("settings", "check"),
    [
        (BreakerSettings(), None),
        (BreakerSettings(consecutive=5000), None),  # half of twenty is still enough
        (BreakerSettings(minimum=50_000), None),  # five in a row are still enough
        (BreakerSettings(consecutive=5000, minimum=50_000), "breaker-never-trips"),
        (BreakerSettings(mode="open"), "breaker-held"),
        (BreakerSettings(mode="closed"), "breaker-held"),
    ],
)
def test_breakers(settings: BreakerSettings, check: str | None) -> None:
    made = route(1, "m-*", target(1, replace(ONE, breaker=settings)))
    assert [name for name, *_ in names(found(made))] == ([] if check is None else [check])


def test_a_provider_without_a_credential() -> None:
    bare = replace(ONE, credentials=())
    checks = [check for check, *_ in names(found(route(1, "m-*", target(1, bare), target(2, TWO))))]
    assert checks == ["no-credential", "no-fallback"]
    # Nobody needs one that no route goes to.
    assert found(GOOD, providers={"bare": replace(bare, id=9)}) == []


def test_keys_that_reach_nothing_or_not_all() -> None:
    [each] = found(GOOD, key=key(allowed_models=("n-1", "x-*")))
    assert (each.check, each.severity, each.where.id) == ("key-reaches-nothing", "error", 5)
    [some] = found(GOOD, key=key(allowed_models=("m-1", "n-1")))
    assert (some.check, some.severity) == ("model-nobody-serves", "warning")
    assert "n-1" in some.words
    assert found(GOOD, key=key(allowed_models=("n-1",), expires_at=NOW)) == []
    # Another team's route is none of its own.
    own = replace(GOOD, team_id=99)
    assert "key-reaches-nothing" in [
        check for check, *_ in names(found(own, key=key(allowed_models=("m-1",))))
    ]


def test_models_that_nobody_serves_elsewhere() -> None:
    limited = key(limits=(Limit(8, "requests", 5, model="n-*"),))
    assert names(found(GOOD, key=limited)) == [("model-nobody-serves", "limit", 8)]
    like = replace(GOOD, semantic=Semantic(embedder="embed-1"))
    assert names(found(like)) == [("model-nobody-serves", "route", 1)]
    assert found(like, route(2, "embed-*")) == []


def test_rows_that_nobody_can_read() -> None:
    [each] = found(GOOD, left_out=2)
    assert (each.check, each.severity) == ("unreadable-rows", "error")


def test_the_worst_comes_first() -> None:
    severities = [
        each.severity
        for each in found(
            route(1, "m-*", team_id=99),
            route(2, "n-*", target(1, enabled=False)),
            key=key(allowed_models=("n-1", "x")),
        )
    ]
    assert severities == ["error", "warning", "info"]


@pytest.mark.parametrize(
    ("one", "other", "meets"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a*", "ab", True),
        ("ab", "a*", True),
        ("b*", "ab", False),
        ("a*", "ab*", True),
        ("ab*", "a*", True),
        ("a*", "b*", False),
        ("*", "x", True),
    ],
)
def test_patterns_that_meet(one: str, other: str, meets: bool) -> None:
    assert overlap(one, other) is meets
    if meets and not one.endswith("*"):
        assert match(Snapshot(1, (route(1, other),)), one, None) is not None
